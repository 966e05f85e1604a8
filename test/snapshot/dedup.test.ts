// Content that moved: with `--dedup store` a dependent take refers to what its parent has anywhere, and to what is new
// and comes twice. Counted in stored clusters; the judge says that every byte is right afterwards.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  type CodecName,
  check,
  createEmitter,
  remove,
  type TakeOptions,
  take,
  verify,
} from '../../snapshot/index.js';
import { sharesFor, Twins } from '../../snapshot/twins.js';
import { patch, Random, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { nvsnap } from '../tools/nvsnap.js';
import { ownClusters } from '../tools/tables.js';

const KiB = 1024;
const CLUSTER = 16 * KiB;
const CLUSTERS = 512;

t.setTimeout(180_000);

/** `count` clusters that shrink to about a half, each another. */
const content = (count: number, seed: number): Buffer => {
  const random = new Random(seed);
  const halves = Array.from({ length: count }, () => [
    random.bytes(CLUSTER / 2),
    Buffer.alloc(CLUSTER / 2, random.next()),
  ]);
  return Buffer.concat(halves.flat());
};

interface Bench {
  readonly image: string;
  readonly store: string;
  readonly judge: Judge;
  /** Bytes of `count` clusters of the image. */
  read(cluster: number, count: number): Buffer;
  write(data: Uint8Array, cluster: number): void;
  take(tag: string, options?: Partial<TakeOptions>): ReturnType<typeof take>;
}

/** An image whose first half is data, and a store with a first snapshot of it. */
const makeBench = async (t: Test, compression: CodecName): Promise<Bench> => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const data = content(CLUSTERS / 2, 1);
  fs.writeFileSync(image, data);
  fs.truncateSync(image, CLUSTERS * CLUSTER);
  const judge = new Judge(folder, store, compression === 'lz4' ? ['restore'] : undefined);
  const bench: Bench = {
    image,
    store,
    judge,
    read: (cluster, count) =>
      fs.readFileSync(image).subarray(cluster * CLUSTER, (cluster + count) * CLUSTER),
    write: (bytes, cluster) => patch(image, bytes, cluster * CLUSTER),
    take: (tag, options = {}) => {
      judge.remember(image, tag);
      const common = { image, store, tag, compression, clusterSize: CLUSTER };
      return take({ ...common, dedup: 'store', ...options });
    },
  };
  await bench.take('first');
  return bench;
};

/** Everything that reads a store agrees that it is right. */
const judgeStore = async (t: Test, { store, judge }: Bench): Promise<void> => {
  await judge.all(t);
  t.same((await check({ store })).findings, []);
  t.same((await verify({ store })).damage, []);
};

for (const compression of ['zstd', 'zlib', 'lz4', 'none'] as const) {
  t.test(`${compression}: what moved is stored no second time`, async (t) => {
    const bench = await makeBench(t, compression);
    const moved = bench.read(20, 100);
    bench.write(moved, 300);
    bench.write(content(100, 2), 20);
    const mixed = await bench.take('moved');
    t.match(mixed, { storedClusters: 100, twinClusters: 100, changedClusters: 200 });
    t.same(
      ownClusters(bench.store, 'first', 'moved'),
      Array.from({ length: 100 }, (_, i) => 20 + i),
      'only what was never there is its own',
    );
    bench.write(bench.read(130, 64), 400);
    bench.write(Buffer.alloc(64 * CLUSTER), 130);
    const only = await bench.take('moved again');
    t.match(only, { storedClusters: 0, storedBytes: 0, twinClusters: 64, zeroedClusters: 64 });
    await judgeStore(t, bench);
    await remove({ store: bench.store, snapshots: ['first'] });
    bench.judge.forget('first');
    await judgeStore(t, bench);
    await remove({ store: bench.store, snapshots: ['moved'] });
    bench.judge.forget('moved');
    await judgeStore(t, bench);
  });
}

t.test('the command does it too, and by default nothing is looked for', async (t) => {
  const bench = await makeBench(t, 'zstd');
  bench.write(bench.read(0, 50), 300);
  t.match(await bench.take('as ever', { dedup: undefined }), { storedClusters: 50 });
  bench.write(bench.read(50, 50), 400);
  bench.judge.remember(bench.image, 'moved');
  const args = ['take', bench.image, bench.store, '--tag', 'moved', '--dedup', 'store', '--json'];
  const { status, stdout } = await nvsnap(args);
  t.equal(status, 0);
  t.match(JSON.parse(stdout), { storedClusters: 0, twinClusters: 50, parent: 'as ever' });
  await judgeStore(t, bench);
  const bad = await nvsnap([...args.slice(0, 5), 'word', '--dedup', 'everywhere']);
  t.equal(bad.status, 2);
  const { image, store } = bench;
  await t.rejects(take({ image, store, dedup: 'all' as 'store' }), { code: 'usage' });
});

t.test(
  'what is new and comes twice is stored once; a shorter last cluster is no twin',
  async (t) => {
    const bench = await makeBench(t, 'zstd');
    const fresh = content(8, 3);
    for (const at of [300, 320, 340]) bench.write(fresh, at);
    t.match(await bench.take('copies'), { storedClusters: 8, twinClusters: 16 });
    const tail = Buffer.from(bench.read(10, 1).subarray(0, CLUSTER - 7));
    patch(bench.image, tail, CLUSTERS * CLUSTER);
    t.match(await bench.take('tail'), { storedClusters: 1, twinClusters: 0 });
    await judgeStore(t, bench);
  },
);

t.test('where the memory does not suffice, it says so and stores', async (t) => {
  // One page of data in each part of the digest table: 2^20 entries of 8 bytes, three quarters of the slots.
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  fs.writeFileSync(image, '');
  fs.truncateSync(image, 2 ** 32);
  const page = new Random(4).bytes(4 * KiB);
  for (let at = 0; at < 2 ** 32; at += 2 ** 20) patch(image, page, at);
  const events = createEmitter();
  const notices: string[] = [];
  events.on('notice', (sentence) => notices.push(sentence));
  const common = { image, store, clusterSize: 4 * KiB, events, dedup: 'store' as const };
  await take({ ...common, tag: 'one' });
  patch(image, page, 2 ** 20 + 64 * KiB);
  const memory = 20 * 2 ** 20;
  t.match(await take({ ...common, tag: 'two', memory: 2 * memory }), { twinClusters: 1 });
  t.same(notices, []);
  patch(image, page, 2 ** 20 + 68 * KiB);
  t.match(await take({ ...common, tag: 'three', memory }), { storedClusters: 1 });
  t.match(notices, [/to look for it in two takes 10\.7 MiB, so give 26\.7 MiB of/]);
  t.equal(notices.length, 1);
  t.same((await verify({ store })).damage, []);
});

t.test('a content that comes very often gets a new place now and then', (t) => {
  const digest = Buffer.alloc(16, 7);
  const twins = new Twins(2 ** 16, 64 * KiB);
  t.equal(twins.announce(digest, 0), 'first');
  twins.placed(digest, 0, { place: 512, length: 25 });
  const most = sharesFor(25, 64 * KiB);
  for (let i = 1; i < most; i += 1) if (twins.announce(digest, 0) !== 'twin') t.fail(`at ${i}`);
  t.equal(twins.announce(digest, 0), 'store', 'enough refer to that place');
  t.same(twins.where(digest, 0), { place: 512, length: 25 }, 'those before still find it');
  twins.placed(digest, 0, { place: 999, length: 25 });
  t.equal(twins.announce(digest, 0), 'twin');
  t.same(twins.where(digest, 0), { place: 999, length: 25 }, 'those after find the new one');
  for (let bits = 12; bits <= 21; bits += 1) {
    for (const length of [12, 25, 1000, 2 ** bits - 1]) {
      const payloads = Math.ceil(2 ** bits / length) + 1;
      const most = payloads * sharesFor(length, 2 ** bits);
      t.ok(most <= 2 ** 21 + 2 ** 20, `${2 ** bits}: all payloads of a cluster, ${most}`);
    }
  }
  t.equal(sharesFor(0, 4096), 2 ** 20, 'a plain one is alone in its cluster');
  t.end();
});
