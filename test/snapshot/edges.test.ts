// Images at the edges of what an image can be: odd sizes, nothing but zeros, holes, noise, and
// content that comes and goes.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { punchHole } from '../../disk/index.js';
import { restore, type TakeResult, take } from '../../snapshot/index.js';
import { allocatedBytes, diskDir, patch, randomBytes } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { dataClusters, ownClusters } from '../tools/tables.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const CLUSTER = 64 * KiB;

t.setTimeout(240_000);

/** One image, one store, and a judge that remembers every take. */
class Bench {
  readonly image: string;
  readonly store: string;
  readonly folder: string;
  readonly #judge: Judge;
  readonly #clusterSize: number;

  constructor(t: Test, content: Uint8Array, clusterSize = CLUSTER) {
    this.folder = diskDir(t);
    this.image = join(this.folder, 'image');
    this.store = join(this.folder, 'store.qcow2');
    this.#clusterSize = clusterSize;
    this.#judge = new Judge(this.folder, this.store);
    fs.writeFileSync(this.image, content);
  }

  /** Takes the image as it is now. */
  take(tag: string): Promise<TakeResult> {
    this.#judge.remember(this.image, tag);
    const { image, store } = this;
    return take({ image, store, tag, clusterSize: this.#clusterSize });
  }

  /** Asserts that all takes come back. */
  judge(t: Test): Promise<void> {
    return this.#judge.all(t);
  }

  storeBytes(): number {
    return fs.statSync(this.store).size;
  }
}

/** Text, so that it gets smaller when packed. */
const text = (length: number): Buffer => {
  const line = 'NVDIMM pages hold ordinary data most of the time. ';
  return Buffer.from(line.repeat(Math.ceil(length / line.length)).slice(0, length));
};

const SIZES: ReadonlyArray<readonly [clusterSize: number, sizes: readonly number[]]> = [
  [4 * KiB, [0, 1, 511, 513, 4095, 4097]],
  [CLUSTER, [0, 1, 4095, CLUSTER - 1, CLUSTER + 1]],
];

for (const [clusterSize, sizes] of SIZES) {
  for (const size of sizes) {
    t.test(`an image of ${size} bytes in clusters of ${clusterSize / KiB} KiB`, async (t) => {
      const bench = new Bench(t, randomBytes(size, size), clusterSize);
      const clusters = Math.ceil(size / clusterSize);
      t.match(await bench.take('first'), { imageBytes: size, storedClusters: clusters });
      if (size > 0) patch(bench.image, Buffer.from('!'), size - 1);
      const next = await bench.take('last byte changed');
      t.match(next, { parent: 'first', storedClusters: Math.min(1, clusters) });
      await bench.judge(t);
    });
  }
}

t.test('an image of nothing but zeros', async (t) => {
  const bench = new Bench(t, Buffer.alloc(16 * MiB));
  t.match(await bench.take('zeros'), { storedClusters: 0, storedBytes: 0 });
  t.match(await bench.take('zeros again'), { storedClusters: 0, changedClusters: 0 });
  await bench.judge(t);
  t.equal(dataClusters(bench.store, 'zeros'), 0);
  t.ok(bench.storeBytes() <= 32 * CLUSTER, 'only tables are stored', { bytes: bench.storeBytes() });
});

t.test('an image with holes comes back with holes', async (t) => {
  const bench = new Bench(t, Buffer.alloc(0));
  fs.truncateSync(bench.image, 64 * MiB + 100);
  const places = [0, 7 * MiB, 33 * MiB + 512, 64 * MiB];
  for (const [i, place] of places.entries()) patch(bench.image, randomBytes(100, i), place);
  const done = await bench.take('holes');
  t.equal(done.storedClusters, places.length);
  t.ok(done.readBytes <= places.length * CLUSTER, 'holes are not read');
  await bench.judge(t);

  const output = join(bench.folder, 'restored');
  await restore({ store: bench.store, snapshot: 'holes', output });
  const most = places.length * CLUSTER;
  t.ok(allocatedBytes(output) <= most, 'the output is sparse', { bytes: allocatedBytes(output) });
});

t.test('written zeros are holes when they come back', async (t) => {
  const bench = new Bench(t, Buffer.concat([text(CLUSTER), Buffer.alloc(8 * MiB), text(CLUSTER)]));
  t.match(await bench.take('zeros inside'), { storedClusters: 1 }, 'twins are stored once');
  await bench.judge(t);
  const output = join(bench.folder, 'restored');
  await restore({ store: bench.store, snapshot: 'zeros inside', output });
  t.ok(allocatedBytes(output) <= 2 * CLUSTER, 'the output is sparse');
});

t.test('an incompressible image is stored plain', async (t) => {
  const size = 64 * MiB;
  const bench = new Bench(t, randomBytes(size, 7));
  const done = await bench.take('noise');
  t.match(done, { storedClusters: size / CLUSTER, storedBytes: size });
  t.ok(bench.storeBytes() <= 1.02 * size, 'and takes no more than it must', {
    bytes: bench.storeBytes(),
  });
  await bench.judge(t);
});

t.test('data that comes and goes: zeros, data, zeros, the same data', async (t) => {
  const size = 4 * MiB;
  const bench = new Bench(t, Buffer.alloc(size));
  t.match(await bench.take('zeros'), { storedClusters: 0 });
  fs.writeFileSync(bench.image, randomBytes(size, 1));
  t.match(await bench.take('data'), { storedClusters: 64, zeroedClusters: 0 });
  fs.writeFileSync(bench.image, Buffer.alloc(size));
  t.match(await bench.take('zeros again'), { storedClusters: 0, zeroedClusters: 64 });
  await bench.judge(t);
  t.equal(dataClusters(bench.store, 'zeros again'), 0, 'nothing of the data is shared any more');
  const { image, store } = bench;
  fs.writeFileSync(image, randomBytes(size, 1));
  const back = await take({ image, store, tag: 'data again', parent: 'data' });
  t.match(back, { storedClusters: 0, changedClusters: 0 });
  t.same(ownClusters(store, 'data', 'data again'), [], 'everything is shared');
  await bench.judge(t);
});

t.test('a hole punched between two takes', async (t) => {
  const bench = new Bench(t, randomBytes(4 * MiB, 3));
  await bench.take('before');
  const fd = fs.openSync(bench.image, 'r+');
  // From the middle of one cluster to the middle of another: two change, ten become zero.
  const punched = punchHole(fd, { start: 9.5 * CLUSTER, end: 20.5 * CLUSTER });
  fs.closeSync(fd);
  if (!punched) {
    t.comment('this file system punches no holes: zeros are written instead');
    patch(bench.image, Buffer.alloc(11 * CLUSTER), 9.5 * CLUSTER);
  }
  t.match(await bench.take('after'), { storedClusters: 2, zeroedClusters: 10 });
  t.same(ownClusters(bench.store, 'before', 'after'), [9, 20]);
  t.equal(dataClusters(bench.store, 'after'), 54);
  await bench.judge(t);
});

t.test('only the last, short cluster changes', async (t) => {
  const size = 2 * MiB + 777;
  const bench = new Bench(t, text(size));
  await bench.take('before');
  patch(bench.image, Buffer.from('the end'), size - 7);
  t.match(await bench.take('after'), { storedClusters: 1 });
  t.same(ownClusters(bench.store, 'before', 'after'), [32]);
  patch(bench.image, Buffer.alloc(777), 2 * MiB);
  t.match(await bench.take('zero tail'), { storedClusters: 0, zeroedClusters: 1 });
  await bench.judge(t);
});
