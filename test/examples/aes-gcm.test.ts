// examples/aes-gcm.js: what is encrypted comes back with the key and only with it, snapshots share clusters all the same,
// and what somebody has changed in the store is noticed.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { diff, Fault, restore, take, verify } from '../../snapshot/index.js';
import { Random, sameFile, tempDir } from '../tools/files.js';
import { CLUSTER, example } from './images.js';
import { readRounds, takeRounds } from './rounds.js';

t.setTimeout(240_000);

const KEY = '5f'.repeat(32);

/** A file that holds a key. */
const keyFile = (t: Test, key = KEY): string => {
  const path = join(tempDir(t), 'key');
  fs.writeFileSync(path, `${key}\n`);
  return path;
};

const problemOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: unknown) => (error instanceof Fault ? String(error.details.problem) : String(error)),
  );

for (const compression of ['none', 'zstd'] as const) {
  t.test(`with ${compression} below it, all comes back`, async (t) => {
    const stages = [example('aes-gcm', { key: keyFile(t) })];
    const rounds = await takeRounds(t, stages, compression);
    await readRounds(t, rounds, stages, compression);
    const bytes = fs.readFileSync(rounds.store);
    t.notOk(bytes.includes('what changes little'), 'nothing of it can be read in the store');
    t.notOk(bytes.includes(Buffer.from(KEY, 'hex')), 'nor the key');
    t.notOk(bytes.includes(KEY));
  });
}

t.test('strict mode finds nothing to say', async (t) => {
  const folder = tempDir(t);
  const [image, store, output] = ['image', 'store.qcow2', 'output'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  fs.writeFileSync(image, new Random(3).bytes(50 * CLUSTER));
  const stages = [example('aes-gcm', { key: keyFile(t) })];
  const asked = { store, stages, strictStages: true };
  await take({ ...asked, image, tag: 'one', clusterSize: CLUSTER });
  await restore({ ...asked, snapshot: 'one', output });
  t.ok(sameFile(image, output));
});

t.test('another key, none, or what is no key is refused, and nothing happens', async (t) => {
  const stages = [example('aes-gcm', { key: keyFile(t) })];
  const { image, store, folder, pools } = await takeRounds(t, stages, 'none');
  const before = fs.readFileSync(store);
  const output = join(folder, 'output');
  const asking = (options: Record<string, unknown>): Promise<string> =>
    problemOf(
      restore({ store, snapshot: 'first', output, stages: [example('aes-gcm', options)], pools }),
    );
  const other = keyFile(t, '60'.repeat(32));
  t.match(await asking({ key: other }), /not the key that the store was written with/);
  t.match(await asking({ command: `cat ${other}` }), /not the key that the store was written with/);
  t.match(await asking({ key: keyFile(t, 'secret') }), /its key is not 64 hexadecimal digits/);
  t.match(await asking({ key: keyFile(t, `${KEY}zz`) }), /its key is not 64 hexadecimal digits/);
  t.match(await asking({ key: join(folder, 'nowhere') }), /nowhere: no such file/);
  t.match(await asking({ command: 'exit 3' }), /exit 3/);
  t.match(await asking({}), /needs key=FILE or command=COMMAND/);
  t.match(await asking({ key: other, command: 'x' }), /needs key=FILE or command=COMMAND/);
  t.match(await asking({ key: other, cipher: 'x' }), /no option "cipher"/);
  const wrong = [example('aes-gcm', { key: other })];
  t.match(
    await problemOf(take({ image, store, tag: 'wrong', stages: wrong, pools })),
    /not the key/,
  );
  // Even what needs only digests needs their key.
  await t.rejects(diff({ store, from: 'first', to: 'second' }), { code: 'stage-missing' });
  t.notOk(fs.existsSync(output));
  t.ok(fs.readFileSync(store).equals(before), 'the store is as it was');
  t.equal(await asking({ command: `echo ${KEY}` }), 'none', 'the right key, from a command');
});

t.test('the key of one store opens no other, and its command is asked once', async (t) => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  fs.writeFileSync(image, Buffer.alloc(3 * CLUSTER, 'x'));
  const asked = join(folder, 'asked');
  const stages = [example('aes-gcm', { command: `echo >> ${asked}; echo ${KEY}` })];
  const stores = [join(folder, 'a.qcow2'), join(folder, 'b.qcow2')] as const;
  for (const store of stores) await take({ image, store, tag: 'one', compression: 'none', stages });
  t.equal(fs.readFileSync(asked, 'utf8'), '\n\n');
  // Equal content, one key: what is stored has nothing in common that tells so.
  const [a, b] = stores.map((store) => fs.readFileSync(store)) as [Buffer, Buffer];
  const payloads = [a, b].map((bytes) => bytes.indexOf(Buffer.from([0x1c, 0, 1, 0, 2, 0, 0, 0])));
  t.ok(
    payloads.every((at) => at > 0),
    'a frame of a 64-KiB cluster begins with its length',
  );
  const [x, y] = payloads as [number, number];
  t.notOk(a.subarray(x + 8, x + 1000).equals(b.subarray(y + 8, y + 1000)));
});

t.test('what was changed in the store is noticed, wherever in a payload', async (t) => {
  const stages = [example('aes-gcm', { key: keyFile(t) })];
  const { store, pools, folder } = await takeRounds(t, stages, 'none');
  const whole = fs.readFileSync(store);
  // Length 4124, what link 0 did: the head of a frame of one cluster.
  const head = Buffer.from([0x1c, 0x10, 0, 0, 2, 0, 0, 0]);
  const frames: number[] = [];
  for (let at = whole.indexOf(head); at >= 0; at = whole.indexOf(head, at + 1)) frames.push(at);
  t.ok(frames.length > 200, 'each cluster has its frame');
  const damage = async (change: (bytes: Buffer) => void): Promise<number> => {
    const bytes = Buffer.from(whole);
    change(bytes);
    const changed = join(folder, 'changed.qcow2');
    fs.writeFileSync(changed, bytes);
    return (await verify({ store: changed, stages, pools })).damagedClusters;
  };
  const at = frames[77] as number;
  const parts = { length: 0, done: 4, nonce: 8, body: 20, 'end of the body': 4115, tag: 4116 };
  for (const [name, offset] of Object.entries({ ...parts, 'end of the tag': 4131 })) {
    const damaged = await damage((bytes) => {
      bytes[at + offset] = (bytes[at + offset] as number) ^ 1;
    });
    t.equal(damaged, 1, name);
  }
  // Each is what was encrypted with the key, only not here.
  const [one, two] = [frames[10] as number, frames[11] as number];
  const swapped = await damage((bytes) => {
    whole.copy(bytes, one, two, two + 4132);
    whole.copy(bytes, two, one, one + 4132);
  });
  t.equal(swapped, 2, 'two that have changed places');
});
