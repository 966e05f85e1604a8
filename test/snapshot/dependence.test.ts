// A snapshot depends on its parent: it stores what changed and nothing else. All of this is counted,
// in the take's own result and, apart from it, in the tables of the store.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readLog } from '../../disk/index.js';
import { take } from '../../snapshot/index.js';
import { evolvingImage } from '../tools/evolving.js';
import { patch, Random, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { dataClusters, ownClusters, readRefcounts } from '../tools/tables.js';
import { assertLinear, takeRepeatedly } from '../tools/workload.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const CLUSTER = 64 * KiB;
const HEADER_SECTOR = 512;

t.setTimeout(240_000);

/** Changes a few bytes in each of these clusters, as scattered guest stores do. */
const touch = (image: string, clusters: readonly number[], random: Random): void => {
  for (const cluster of clusters) {
    patch(image, random.bytes(16), cluster * CLUSTER + random.below(CLUSTER - 16));
  }
};

t.test('an unchanged image of 32 MiB of real data', async (t) => {
  const folder = tempDir(t);
  const image = evolvingImage(t, folder, { bytes: 48 * MiB, fill: 32 * MiB }).path;
  const store = join(folder, 'store.qcow2');
  const first = await take({ image, store, tag: 'first' });
  t.ok(first.storedClusters > 250, 'there is data', { stored: first.storedClusters });
  const next = await take({ image, store, tag: 'next' });
  t.match(next, { parent: 'first', changedClusters: 0, storedClusters: 0, storedBytes: 0 });
  t.ok(next.storeBytes - first.storeBytes <= MiB, 'and the file hardly grows', {
    grown: next.storeBytes - first.storeBytes,
  });
  t.same(ownClusters(store, 'first', 'next'), [], 'every entry is the parent’s');
  t.equal(dataClusters(store, 'next'), dataClusters(store, 'first'));
});

/** One image with a store of its own for each compression. */
const bothStores = (folder: string) =>
  (['none', 'zstd'] as const).map((compression) => {
    const store = join(folder, `${compression}.qcow2`);
    return { compression, store, judge: new Judge(folder, store) };
  });

t.test('N changed clusters add N clusters, plain and packed', async (t) => {
  const folder = tempDir(t);
  const image = evolvingImage(t, folder, { bytes: 24 * MiB, fill: 16 * MiB }).path;
  const stores = bothStores(folder);
  const random = new Random(31);
  for (const [i, count] of [0, 1, 37, 200].entries()) {
    const changed = random.pick(count, fs.statSync(image).size / CLUSTER);
    touch(image, changed, random);
    for (const { compression, store, judge } of stores) {
      judge.remember(image, `n${i}`);
      const done = await take({ image, store, tag: `n${i}`, compression });
      if (i === 0) continue;
      t.match(done, { storedClusters: count, changedClusters: count, zeroedClusters: 0 });
      t.same(ownClusters(store, `n${i - 1}`, `n${i}`), changed, `exactly these ${count}`);
      if (compression === 'none') t.equal(done.storedBytes, count * CLUSTER);
      else t.ok(done.storedBytes < count * CLUSTER, 'and they are packed');
    }
  }
  for (const { judge } of stores) await judge.all(t);
});

t.test('the tenth take of the same workload costs no more tables than the second', async (t) => {
  const folder = tempDir(t);
  for (const compression of ['none', 'zstd'] as const) {
    const workload = { changed: 24, clusterSize: CLUSTER, imageBytes: 16 * MiB, compression };
    const { metadataBytes } = await takeRepeatedly(folder, { ...workload, takes: 10 });
    const [second, tenth] = [metadataBytes[1] as number, metadataBytes[9] as number];
    t.ok(tenth <= second, `${compression}: ${second}, then ${tenth} bytes`);
  }
});

t.test('growth is linear in what changed', async (t) => {
  const folder = tempDir(t);
  const grown: number[] = [];
  const common = { clusterSize: CLUSTER, imageBytes: 8 * MiB, compression: 'none' } as const;
  for (const changed of [8, 24]) {
    const workload = { ...common, changed, takes: 17 };
    const growth = await takeRepeatedly(folder, workload);
    assertLinear(t, growth, workload);
    grown.push((growth.storeBytes[16] as number) - (growth.storeBytes[0] as number));
  }
  // Three times the changes: 16 clusters more in each of 16 takes; the tables are the same.
  const [few = 0, many = 0] = grown;
  t.ok(Math.abs((many - few) / CLUSTER - 16 * 16) <= 2, 'only the data makes the difference', {
    few,
    many,
  });
});

/** What the I/O log of one take says about clusters that the store used before it. */
const assertUntouched = (t: Test, store: string, log: string, before: DiskState): void => {
  const { refcounts, bytes } = before;
  const inUse = (cluster: number): boolean => refcounts.count(cluster) > 0;
  const { clusterSize } = refcounts;
  let headerWrites = 0;
  let writes = 0;
  for (const entry of readLog(fs.readFileSync(log))) {
    if (entry.kind === 'truncate') {
      const cut = entry.length < bytes && inUse(Math.ceil(entry.length / clusterSize));
      t.notOk(cut, 'no cluster in use is cut off');
    }
    if (entry.kind !== 'write') continue;
    writes += 1;
    if (entry.position === 0 && entry.data.length === HEADER_SECTOR) {
      headerWrites += 1;
      continue;
    }
    const last = Math.floor((entry.position + entry.data.length - 1) / clusterSize);
    for (let c = Math.floor(entry.position / clusterSize); c <= last; c += 1) {
      if (inUse(c)) t.fail(`cluster ${c} was in use and is written to at ${entry.position}`);
    }
  }
  t.equal(headerWrites, 1, 'the header is written once');
  t.ok(writes > 5, 'the log holds the take’s writes', { writes });
  t.ok(fs.statSync(store).size >= bytes, 'the file did not shrink');
};

interface DiskState {
  readonly refcounts: ReturnType<typeof readRefcounts>;
  readonly bytes: number;
}

t.test('no take writes to a cluster in use, plain and packed', async (t) => {
  const folder = tempDir(t);
  const image = evolvingImage(t, folder, { bytes: 16 * MiB, fill: 8 * MiB });
  const stores = bothStores(folder);
  for (let i = 0; i <= 4; i += 1) {
    if (i > 0) image.evolve();
    for (const { compression, store, judge } of stores) {
      const tag = `take-${i}`;
      const options = { image: image.path, store, tag, compression, clusterSize: 16 * KiB };
      judge.remember(image.path, tag);
      if (i === 0) {
        await take(options);
        continue;
      }
      const before = { refcounts: readRefcounts(store), bytes: fs.statSync(store).size };
      const ioLog = join(folder, `log-${compression}-${i}`);
      await take({ ...options, ioLog });
      assertUntouched(t, store, ioLog, before);
    }
  }
  for (const { judge } of stores) await judge.all(t);
});
