// A snapshot shipped as a stream is the same snapshot where it arrives; a stream that is not whole, or not
// right, changes nothing there.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NIL_UUID } from '../../qcow2/index.js';
import {
  exportSnapshot,
  Fault,
  importSnapshot,
  list,
  restore,
  take,
  verify,
} from '../../snapshot/index.js';
import type { StreamHeader } from '../../snapshot/stream.js';
import { forgeTable } from '../qcow2/forge.js';
import { patch, Random, sameFile, tempDir, withFd } from '../tools/files.js';
import { flipCluster } from '../tools/flip.js';
import { MAIN, nvsnap } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';
import { publishedDigest } from '../tools/tables.js';
import { forgeStream, headerOfStream } from './forge-stream.js';

t.setTimeout(240_000);

const CLUSTER = 4096;
const SIZE = 600 * CLUSTER + 77;
const TAGS = ['a', 'b', 'c', 'd'] as const;

type Codec = 'zstd' | 'zlib' | 'none' | 'lz4';

/** Four states: two of them a little changed, the last one shorter. */
const makeStore = async (t: Test, compression: Codec = 'zstd') => {
  const folder = tempDir(t);
  const [image, store, target] = ['image', 'store.qcow2', 'target.qcow2'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const random = new Random(12);
  const content = Buffer.alloc(SIZE, 'some text to be compressed ');
  random.bytes(200 * CLUSTER).copy(content, 100 * CLUSTER);
  content.fill(0, 400 * CLUSTER, 500 * CLUSTER);
  fs.writeFileSync(image, content);
  const changes = [
    () => {},
    () => patch(image, random.bytes(9000), 150 * CLUSTER + 5),
    () => patch(image, Buffer.alloc(20 * CLUSTER), 200 * CLUSTER),
    () => fs.truncateSync(image, 550 * CLUSTER + 9),
  ];
  for (const [i, tag] of TAGS.entries()) {
    changes[i]?.();
    fs.copyFileSync(image, `${image}.${tag}`);
    await take({ image, store, tag, clusterSize: CLUSTER, compression });
  }
  return { folder, image, store, target };
};

/** How many descriptors this process has open. */
const descriptors = (): number => fs.readdirSync('/proc/self/fd').length;

t.test('an export leaves no descriptor behind, and those of its caller open', async (t) => {
  const { folder, store } = await makeStore(t);
  const fifo = join(folder, 'fifo');
  spawnSync('mkfifo', [fifo]);
  const reader = spawn('cat', [fifo], { stdio: 'ignore' });
  const ended = once(reader, 'close');
  const fd = fs.openSync(fifo, 'w');
  const before = descriptors();
  for (let i = 0; i < 3; i += 1) await exportSnapshot({ store, snapshot: 'b', fd });
  t.equal(descriptors(), before);
  const refused = exportSnapshot({ store, snapshot: 'b', since: 'nobody', fd });
  await t.rejects(refused, { code: 'snapshot-unknown' });
  t.equal(descriptors(), before, 'also when it fails');
  fs.writeSync(fd, 'still open');
  fs.closeSync(fd);
  await ended;
});

/** Exports to a file, and returns its path. */
const toFile = async (store: string, snapshot: string, since?: string): Promise<string> => {
  const path = `${store}.${snapshot}.stream`;
  await withFd(path, 'w', (fd) => exportSnapshot({ store, snapshot, since, fd }));
  return path;
};

const fromFile = (store: string, path: string) =>
  withFd(path, 'r', (fd) => importSnapshot({ store, fd }));

/** Everything that arrived is as it was sent. */
const holds = async (t: Test, image: string, target: string, tags: readonly string[]) => {
  checkClean(target);
  for (const snapshot of tags) {
    const output = `${target}.out`;
    await restore({ store: target, snapshot, output, force: true });
    t.ok(sameFile(`${image}.${snapshot}`, output), snapshot);
  }
  t.match(await verify({ store: target }), { damagedClusters: 0, unverifiable: [] });
};

for (const compression of ['zstd', 'zlib', 'none', 'lz4'] as const) {
  t.test(`one after another, and each costs what has changed: ${compression}`, async (t) => {
    const { image, store, target } = await makeStore(t, compression);
    const sizes: number[] = [];
    for (const [i, tag] of TAGS.entries()) {
      const stream = await toFile(store, tag, TAGS[i - 1]);
      sizes.push(fs.statSync(stream).size);
      t.match(await fromFile(target, stream), { tag, parent: TAGS[i - 1] ?? null });
    }
    await holds(t, image, target, TAGS);
    t.ok(
      sizes.slice(1).every((size) => size < (sizes[0] as number) / 20),
      `${sizes}`,
    );
    const [sent, arrived] = [await list({ store }), await list({ store: target })];
    t.same(
      arrived.map(({ uuid, tag, parent, date, storedClusters }) => [
        uuid,
        tag,
        parent,
        date,
        storedClusters,
      ]),
      sent.map(({ uuid, tag, parent, date, storedClusters }) => [
        uuid,
        tag,
        parent,
        date,
        storedClusters,
      ]),
    );
  });
}

t.test('over a gap: what has changed since an older one', async (t) => {
  const { image, store, target } = await makeStore(t);
  await fromFile(target, await toFile(store, 'a'));
  await fromFile(target, await toFile(store, 'd', 'a'));
  await holds(t, image, target, ['a', 'd']);
  await fromFile(target, await toFile(store, 'c', 'd'));
  await holds(t, image, target, ['a', 'c', 'd']);
  // And takes go on there.
  await take({ image, store: target, tag: 'e', otherImage: true });
  await holds(t, image, target, ['a', 'c', 'd']);
});

t.test('through a pipe, by the command', async (t) => {
  const { image, store, target } = await makeStore(t);
  const pipe = (script: string) =>
    spawnSync('bash', ['-c', `set -o pipefail; ${script}`, process.execPath, MAIN, store, target], {
      encoding: 'utf8',
    });
  const first = pipe('"$0" "$1" export "$2" a | "$0" "$1" import "$3" --compression none');
  t.equal(first.status, 0, first.stderr);
  t.match(first.stdout, /^Imported a \(#1, complete\) into .*, every byte verified, in /);
  t.match(first.stderr, /^Exported a of .*: 501 clusters, .*, every byte verified, in /);
  const slow = pipe(
    '"$0" "$1" export "$2" b --since a | (sleep 0.4; dd bs=100 status=none) | "$0" "$1" import "$3" --json',
  );
  t.match(JSON.parse(slow.stdout), { tag: 'b', parent: 'a' });
  await holds(t, image, target, ['a', 'b']);
});

t.test('what is refused, and that nothing changes then', async (t) => {
  const { folder, store, target } = await makeStore(t);
  const first = await toFile(store, 'a');
  const second = await toFile(store, 'c', 'b');
  const refusal = async (path: string, stream: string): Promise<Fault> => {
    const before = fs.existsSync(path) ? fs.readFileSync(path) : undefined;
    const error: unknown = await fromFile(path, stream).then(
      () => undefined,
      (e: unknown) => e,
    );
    const after = fs.existsSync(path) ? fs.readFileSync(path) : undefined;
    t.same(after, before, 'the store is as it was');
    t.ok(error instanceof Fault, String(error));
    return error as Fault;
  };
  t.match(await refusal(target, second), { code: 'store-missing' });
  await fromFile(target, first);
  t.match(await refusal(target, second), { code: 'parent-missing', message: /"b"/ });
  t.match(await refusal(target, first), { code: 'snapshot-present' });
  const other = join(folder, 'other.qcow2');
  await take({ image: join(folder, 'image'), store: other, tag: 'a', clusterSize: 65536 });
  t.match(await refusal(other, first), { code: 'tag-taken' });
  fs.writeFileSync(join(folder, 'text'), 'no stream at all');
  t.match(await refusal(target, join(folder, 'text')), { code: 'stream-damaged', exitCode: 3 });
  fs.writeFileSync(
    join(folder, 'more'),
    Buffer.concat([fs.readFileSync(await toFile(store, 'b', 'a')), Buffer.from('x')]),
  );
  t.match(await refusal(target, join(folder, 'more')), { message: /goes on after its end/ });
  const wide = join(folder, 'wide.qcow2');
  await withFd(first, 'r', (fd) => importSnapshot({ store: wide, fd, clusterSize: 65536 }));
  t.match(await refusal(wide, await toFile(store, 'b', 'a')), { code: 'store-settings' });
  for (const [args, status] of [
    [['export', store, 'x'], 1],
    [['export', store, 'a', '--since', 'x'], 1],
    [['export', store, 'a', '--level', '99'], 2],
    [['import', join(folder, 'none'), '--cluster-size', '3K'], 2],
    [['import', join(folder, 'none')], 3],
  ] as const) {
    t.match(await nvsnap(args), { status }, args.join(' '));
  }
  t.notOk(fs.existsSync(join(folder, 'none')));
});

t.test('damage in the store is not shipped', async (t) => {
  const { store, target } = await makeStore(t);
  flipCluster(store, 'a', 120, new Random(1));
  const path = join(target, '..', 'stream');
  const fd = fs.openSync(path, 'w');
  await t.rejects(exportSnapshot({ store, snapshot: 'a', fd }), { exitCode: 3, code: /./ });
  fs.closeSync(fd);
  await t.rejects(fromFile(target, path), { code: 'stream-damaged' });
  t.notOk(fs.existsSync(target));
});

t.test('a byte that turned over, or an end that is missing, is always noticed', async (t) => {
  const { folder, store, target } = await makeStore(t);
  await fromFile(target, await toFile(store, 'a'));
  const stream = fs.readFileSync(await toFile(store, 'b', 'a'));
  const before = fs.readFileSync(target);
  const path = join(folder, 'hurt');
  const random = new Random(2);
  const tried = { flips: 0, cuts: 0, written: 0 };
  const refused = async (bytes: Buffer, what: string): Promise<void> => {
    fs.writeFileSync(path, bytes);
    const error: unknown = await fromFile(target, path).then(
      () => 'was taken',
      (e: unknown) => e,
    );
    t.ok(error instanceof Fault, `${what}: ${String(error)}`);
    if (fs.readFileSync(target).equals(before)) return;
    // What was free may have been written to.
    tried.written += 1;
    await holds(t, join(folder, 'image'), target, ['a']);
    t.equal((await list({ store: target })).length, 1);
    fs.writeFileSync(target, before);
  };
  const step = Math.ceil(stream.length / 250);
  for (let at = 0; at < stream.length; at += at < 700 ? 2 : step) {
    const hurt = Buffer.from(stream);
    hurt[at] = (hurt[at] as number) ^ (1 << random.below(8));
    await refused(hurt, `byte ${at}`);
    tried.flips += 1;
  }
  for (let length = 0; length < stream.length; length += 5 * step) {
    await refused(stream.subarray(0, length), `${length} bytes`);
    tried.cuts += 1;
  }
  t.comment(JSON.stringify(tried));
  t.ok(tried.flips > 400 && tried.cuts > 40);
  await fromFile(target, await toFile(store, 'b', 'a'));
});

t.test('nothing is built on a uuid that two snapshots have', async (t) => {
  const { folder, store, target } = await makeStore(t);
  const stream = await toFile(store, 'c', 'b');
  for (const tag of ['a', 'b']) await fromFile(target, await toFile(store, tag));
  const { uuid } = (await list({ store }))[1] as { uuid: string };
  for (const path of [store, target]) {
    forgeTable(path, (tag) => (tag === 'a' ? { record: { uuid } } : {}));
  }
  const before = fs.readFileSync(target);
  const refused = { code: 'store-damaged', exitCode: 3, message: /"a" and "b" have the same uuid/ };
  await t.rejects(fromFile(target, stream), refused);
  t.ok(fs.readFileSync(target).equals(before), 'the store is as it was');
  await withFd(join(folder, 'stream'), 'w', async (fd) => {
    await t.rejects(exportSnapshot({ store, snapshot: 'c', since: 'b', fd }), refused);
    await t.rejects(exportSnapshot({ store, snapshot: 'a', fd }), refused);
    await exportSnapshot({ store, snapshot: 'c', since: 'd', fd });
  });
});

t.test('where an image ends apart from its parent, that cluster must come', async (t) => {
  const { folder, image, store, target } = await makeStore(t);
  await fromFile(target, await toFile(store, 'a'));
  const header = headerOfStream(fs.readFileSync(await toFile(store, 'b', 'a')));
  const before = fs.readFileSync(target);
  const published = publishedDigest(target);
  const path = join(folder, 'forged');
  const forge = (imageSize: number): void =>
    fs.writeFileSync(path, forgeStream({ ...header, imageSize }));
  for (const imageSize of [SIZE + 100_000, SIZE + 1, SIZE - 1, 300 * CLUSTER + 5, 1]) {
    forge(imageSize);
    await t.rejects(fromFile(target, path), { code: 'stream-damaged', message: /end apart/ });
    t.equal(publishedDigest(target), published, `${imageSize} bytes: the store is as it was`);
  }
  // Between clusters, or among zeros, there is nothing that must come.
  const content = fs.readFileSync(`${image}.a`);
  for (const imageSize of [0, 300 * CLUSTER, 450 * CLUSTER + 5, 500 * CLUSTER - 1]) {
    forge(imageSize);
    await fromFile(target, path);
    fs.writeFileSync(`${image}.b`, content.subarray(0, imageSize));
    await holds(t, image, target, ['a', 'b']);
    fs.writeFileSync(target, before);
  }
});

t.test('a stream of a snapshot without a uuid, or since one, is refused', async (t) => {
  const { folder, store, target } = await makeStore(t);
  const header = headerOfStream(fs.readFileSync(await toFile(store, 'a')));
  const path = join(folder, 'forged');
  for (const field of ['uuid', 'parent']) {
    fs.writeFileSync(path, forgeStream({ ...header, imageSize: 0, [field]: NIL_UUID }));
    await t.rejects(fromFile(target, path), { code: 'stream-damaged', exitCode: 3 }, field);
    t.notOk(fs.existsSync(target));
  }
});

t.test('texts that no screen or record can have are refused, and not sent', async (t) => {
  const { folder, store, target } = await makeStore(t);
  const header = headerOfStream(fs.readFileSync(await toFile(store, 'a')));
  const path = join(folder, 'forged');
  const forge = (fields: Partial<StreamHeader>): void =>
    fs.writeFileSync(path, forgeStream({ ...header, imageSize: 0, ...fields }));
  for (const field of ['parentTag', 'dirty', 'epoch', 'image', 'tool'] as const) {
    for (const text of ['a\nb', '\u001b[2J', '\u009b2J', '\u0000', '\ud800']) {
      forge({ [field]: text });
      const refused = { code: 'stream-damaged', exitCode: 3 };
      await t.rejects(fromFile(target, path), refused, `${field} ${JSON.stringify(text)}`);
    }
  }
  for (const tag of ['a\nb', '\ud800']) {
    forge({ tag });
    await t.rejects(fromFile(target, path), { code: 'tag-invalid' }, JSON.stringify(tag));
    t.notOk(fs.existsSync(target));
    await withFd(path, 'r', (fd) => importSnapshot({ store: target, fd, tag: 'another' }));
    t.match(await list({ store: target }), [{ tag: 'another' }]);
    fs.rmSync(target);
  }
  // The image of a genuine one may have any name.
  const image = join(folder, 'a\nb');
  fs.writeFileSync(image, 'something');
  await take({ image, store: target, tag: 'odd' });
  const arrived = join(folder, 'arrived.qcow2');
  await fromFile(arrived, await toFile(target, 'odd'));
  t.match(await list({ store: arrived }), [{ tag: 'odd', image: /a\ufffdb$/ }]);
});
