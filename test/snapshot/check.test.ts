import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { check, Fault, restore, take } from '../../snapshot/index.js';
import { randomBytes, tempDir } from '../tools/files.js';
import { checkClean, qemuImg } from '../tools/qemu.js';

const faultCode = async (work: Promise<unknown>): Promise<string | undefined> => {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
};

t.test('what a check of a sound store says', async (t) => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  const store = join(folder, 'store.qcow2');
  fs.writeFileSync(image, randomBytes(300_000, 1));
  await take({ image, store, tag: 'first', clusterSize: 4096, threads: 1 });
  const before = fs.readFileSync(store);
  const result = await check({ store });
  t.match(result, {
    store,
    snapshots: 1,
    corruptions: 0,
    leaks: 0,
    notes: 0,
    findings: [],
    fileBytes: before.length,
    clusters: before.length / 4096,
  });
  // 74 clusters of the image, their digests in one cluster and the index of those in another.
  t.equal(result.allocated.data, 76);
  t.match(result.allocated, { header: 1, l1: 2, l2: 2, snapshotTable: 1, bitmap: 0 });
  t.ok(fs.readFileSync(store).equals(before), 'a check changes nothing');
  checkClean(store);
});

t.test('a check beside a writer sees one generation, whole', async (t) => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  const store = join(folder, 'store.qcow2');
  const content = randomBytes(1 << 20, 2);
  fs.writeFileSync(image, content);
  await take({ image, store, clusterSize: 4096, threads: 1 });
  let writing = true;
  const write = async (): Promise<void> => {
    try {
      for (let round = 0; round < 4; round += 1) {
        randomBytes(100_000, round).copy(content, round * 200_000);
        fs.writeFileSync(image, content);
        await take({ image, store, threads: 1 });
      }
    } finally {
      writing = false;
    }
  };
  const watch = async (): Promise<number> => {
    let seen = 0;
    while (writing) {
      const { corruptions, leaks, findings } = await check({ store });
      if (corruptions + leaks > 0) t.fail('a mixture of two generations', { findings });
      seen += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return seen;
  };
  const [seen] = await Promise.all([watch(), write()]);
  t.ok(seen > 0, `${seen} checks while four snapshots were taken`);
  t.match(await check({ store }), { snapshots: 5, corruptions: 0, leaks: 0 });
});

t.test('a file that cannot be opened at all is refused', async (t) => {
  const folder = tempDir(t);
  const path = join(folder, 'x');
  t.equal(await faultCode(check({ store: path })), 'store-missing');
  fs.writeFileSync(path, 'no qcow2');
  t.equal(await faultCode(check({ store: path })), 'store-not-qcow2');
});

t.test('one damaged record keeps nobody from the other snapshots', async (t) => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  const store = join(folder, 'store.qcow2');
  fs.writeFileSync(image, 'image');
  await take({ image, store, tag: 'first', clusterSize: 4096, threads: 1 });
  await take({ image, store, tag: 'second', threads: 1 });
  const raw = fs.readFileSync(store);
  const table = Number(raw.readBigUInt64BE(64));
  for (const [place, what] of [
    [table + 16 + 3, 'its date'],
    [table + 64, 'the magic of its record'],
    [table + 64 + 50, 'its record'],
  ] as const) {
    const damaged = Buffer.from(raw);
    damaged[place] = (damaged[place] as number) ^ 1;
    fs.writeFileSync(store, damaged);
    t.match(await check({ store }), { corruptions: 1 }, `check finds ${what}`);
    const output = join(folder, 'out');
    const refused = restore({ store, snapshot: 'first', output, force: true });
    await t.rejects(refused, { code: 'store-damaged', exitCode: 3 }, `${what}: restore refuses`);
    const done = await restore({ store, snapshot: 'second', output, force: true });
    t.ok(
      done.verified && fs.readFileSync(output).equals(fs.readFileSync(image)),
      'the other is whole',
    );
  }
});

t.test('a check that is not wanted any more stops', async (t) => {
  const store = join(tempDir(t), 'long.qcow2');
  const args = ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', store, '1M'];
  t.equal(qemuImg(args).status, 0);
  // 64 million clusters that are not there keep a check busy for many slices of its time.
  fs.truncateSync(store, 2 ** 35);
  const stop = new Error('stop');
  await t.rejects(check({ store, signal: AbortSignal.abort(stop) }), stop, 'before it begins');
  const controller = new AbortController();
  setImmediate(() => controller.abort(stop));
  await t.rejects(check({ store, signal: controller.signal }), stop, 'in the middle');
});
