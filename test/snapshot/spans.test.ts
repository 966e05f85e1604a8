// An image of which little is expected to have changed is read in spans, which have room for a part of what they stand
// for. However much has changed and wherever: every cluster goes on once, in order, and the snapshot is the image.

import fs from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import type { Extent } from '../../disk/index.js';
import { type Batch, Kind, Pools, SlabPool } from '../../pipeline/index.js';
import type { DigestReader } from '../../qcow2/index.js';
import { compare, restore, take } from '../../snapshot/index.js';
import { Spans } from '../../snapshot/spans.js';
import { place } from '../../stages/index.js';
import { copyState, patch, Random, randomBytes, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';

const MiB = 2 ** 20;
const CLUSTER = 64 * 1024;
const SMALL = 512;
const LAYOUT = { clusterSize: SMALL, clusters: 16, packedBytes: 0, room: 3 };
const SLABS = 5;

t.setTimeout(240_000);

/** Does as scan does: holds what has changed, and cuts where there is no room. */
const hold = (batch: Batch, changed: ReadonlySet<number>): void => {
  const first = batch.offset / SMALL;
  for (let i = 0; i < batch.count; i += 1) {
    if (batch.kinds[i] === Kind.same || !changed.has(first + i) || batch.hold(i)) continue;
    batch.shorten(i);
    return;
  }
};

/** Digests of a parent: each its cluster's number. */
const PARENT = {
  read: (first: number, count: number, into: Uint8Array) => {
    for (let i = 0; i < count; i += 1) into.fill((first + i) % 251, i * 16, (i + 1) * 16);
  },
} as DigestReader;

/** Reads so far ahead that every slab is out; returns the clusters that went on, in the order in which they did. */
const readAll = async (
  extents: readonly Extent[],
  changed: ReadonlySet<number>,
  mostlySame = true,
  gaps: readonly Extent[] = [],
  layout = LAYOUT,
): Promise<{ clusters: number[]; read: number; batches: number }> => {
  const slabs = new SlabPool(layout, SLABS);
  const spans = new Spans(extents, gaps, mostlySame);
  const line: Batch[] = [];
  const clusters: number[] = [];
  let read = 0;
  let batches = 0;
  let bytes = 0;
  const next = (): void => {
    const batch = line.shift() as Batch;
    if (!spans.drops(batch)) {
      for (let i = 0; i < batch.count; i += 1) {
        const at = batch.offset + i * SMALL;
        if (gaps.some(({ start, end }) => start <= at && at < end))
          t.fail('no batch has a gap in it');
        if (batch.kinds[i] !== Kind.same) clusters.push(batch.offset / SMALL + i);
        else if (!batch.isKnown(i, i + 1)) t.fail('what is omitted is as the parent’s');
      }
    }
    bytes += batch.bytes;
    slabs.release(batch);
  };
  const source = spans.source(slabs, PARENT);
  for (;;) {
    let came: IteratorResult<Batch> | undefined;
    const coming = source.next().then((result) => {
      came = result;
    });
    // A source that waits for slabs gets one after the other.
    while (!came) {
      await new Promise(setImmediate);
      if (!came && line.length > 0) next();
    }
    await coming;
    if (came.done) break;
    hold(came.value, changed);
    read += came.value.bytes / SMALL;
    batches += 1;
    line.push(came.value);
  }
  t.equal(line.length, 0, 'it ends when nothing is under way');
  t.equal(bytes, clusters.length * SMALL, 'progress counts what went on, once');
  return { clusters, read, batches };
};

const clustersOf = (extents: readonly Extent[]): number[] =>
  extents.flatMap(({ start, end }) =>
    Array.from({ length: (end - start) / SMALL }, (_, i) => start / SMALL + i),
  );

t.test('every cluster goes on once, in order, whatever has changed', async (t) => {
  const gapsAndLengths = fc.array(
    fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 70 })),
    { minLength: 1, maxLength: 6 },
  );
  await fc.assert(
    fc.asyncProperty(
      gapsAndLengths,
      fc.constantFrom(0, 0.02, 0.2, 1),
      fc.nat(),
      fc.boolean(),
      async (ranges, share, seed, mostlySame) => {
        const random = new Random(seed);
        const extents: Extent[] = [];
        let at = 0;
        for (const [gap, length] of ranges) {
          extents.push({ start: (at + gap) * SMALL, end: (at + gap + length) * SMALL });
          at += gap + length;
        }
        const all = clustersOf(extents);
        const changed = new Set(all.filter(() => random.below(1000) < share * 1000));
        const { clusters } = await readAll(extents, changed, mostlySame);
        return clusters.length === all.length && clusters.every((cluster, i) => cluster === all[i]);
      },
    ),
    { numRuns: 60 },
  );
  t.pass('in 60 runs');
});

t.test('where all has changed, little is read twice', async (t) => {
  const extents = [{ start: 0, end: 9000 * SMALL }];
  const all = clustersOf(extents);
  const { clusters, read } = await readAll(extents, new Set(all));
  t.same(clusters, all);
  t.ok(read < 1.05 * all.length, 'at most a twentieth of it', { read });
});

t.test('the less has changed the longer the spans are', async (t) => {
  const extents = [{ start: 0, end: 9600 * SMALL }];
  const all = clustersOf(extents);
  const batchesOf = async (every: number): Promise<number> => {
    const changed = new Set(all.filter((cluster) => cluster % every === 0));
    const layout = { clusterSize: SMALL, clusters: 128, packedBytes: 0, room: 8 };
    const { clusters, batches } = await readAll(extents, changed, true, [], layout);
    t.same(clusters, all);
    return batches;
  };
  // 64 clusters at first, until the first is through, and then, with at most one of eight places needed, 128.
  const few = SLABS + Math.ceil((9600 - 64 * SLABS) / 128);
  t.equal(await batchesOf(all.length), few);
  t.equal(await batchesOf(150), few);
  t.equal(await batchesOf(12), 9600 / 64, 'six in 64: twice as many would have no room');
});

t.test('ranges that lie close share a batch', async (t) => {
  const extents = Array.from({ length: 400 }, (_, i) => ({
    start: 8 * i * SMALL,
    end: (8 * i + 1) * SMALL,
  }));
  const all = clustersOf(extents);
  const { clusters, read, batches } = await readAll(extents, new Set(all), false);
  t.same([clusters, read, batches], [all, 400, 200], 'two in every sixteen clusters');
  // Between every tenth and the next the image is known to be another than the parent.
  const gaps = extents
    .filter((_, i) => i % 10 === 9)
    .map(({ end }) => ({ start: end + 2 * SMALL, end: end + 3 * SMALL }));
  const apart = await readAll(extents, new Set(all), false, gaps);
  t.same([apart.clusters, apart.batches], [all, 200], 'as many, and none has a gap in it');
});

t.test('an image without ranges gives nothing', async (t) => {
  t.same(await readAll([], new Set()), { clusters: [], read: 0, batches: 0 });
});

/** Halves that are alike: with a codec that has something to do. */
const repeated = (length: number, seed: number): Buffer =>
  Buffer.concat(
    [randomBytes(16_384, seed), Buffer.alloc(length, randomBytes(16_384, seed))],
    length,
  );

/** How many clusters differ in two states of an image. */
const differing = (before: Buffer, after: Buffer): number => {
  let count = 0;
  for (let at = 0; at < after.length; at += CLUSTER) {
    const end = Math.min(after.length, at + CLUSTER);
    if (before.compare(after, at, end, at, end) !== 0) count += 1;
  }
  return count;
};

for (const compression of ['none', 'zstd'] as const) {
  t.test(`in spans all is what the image is, ${compression}`, async (t) => {
    const folder = tempDir(t);
    const [image, store, copy, bitmap] = ['image', 'store.qcow2', 'copy', 'bitmap'].map((name) =>
      join(folder, name),
    ) as [string, string, string, string];
    // Spans of 2 MiB with room for 1 MiB, and an end in the middle of a cluster.
    const bytes = 32 * MiB + 777;
    const memory = 14 * MiB;
    fs.writeFileSync(image, repeated(bytes, 1));
    const judge = new Judge(folder, store);
    const random = new Random(5);
    const pools = new Pools();
    t.teardown(() => pools.close());
    // Threads from the first batch on: spans are read ahead of the one that is cut.
    pools.start(place('scan', 2));
    const ranges: Record<string, readonly (readonly [at: number, bytes: number])[]> = {
      same: [],
      scattered: random.pick(10, bytes / CLUSTER).map((cluster) => [cluster * CLUSTER + 9, 5]),
      bulk: [
        [3 * MiB + 100, 9 * MiB],
        [20 * MiB, 2 * MiB],
        [bytes - 70_000, 70_000],
      ],
      end: [[bytes - 1, 1]],
      all: [[0, bytes]],
    };
    const common = { store, memory, threads: { scan: 2 }, pools };
    const options = { ...common, image, compression };
    judge.remember(image, 'first');
    let { uuid, tag: parent } = await take({ ...options, tag: 'first' });
    for (const [tag, changes] of Object.entries(ranges)) {
      const before = fs.readFileSync(image);
      for (const [at, length] of changes) patch(image, repeated(length, at + 3), at);
      const changed = differing(before, fs.readFileSync(image));

      const { ranges: found } = await compare({ ...common, image, snapshot: parent });
      const clusters = found.map(({ length }) => Math.ceil(length / CLUSTER));
      t.equal(
        clusters.reduce((sum, count) => sum + count, 0),
        changed,
        `${tag}: compare finds ${changed} clusters`,
      );
      copyState(image, copy);
      const back = { ...common, snapshot: parent, output: copy, inPlace: true };
      const { changedBytes } = await restore(back);
      t.ok(fs.readFileSync(copy).equals(before), 'a copy is brought back');
      t.equal(Math.ceil((changedBytes ?? 0) / CLUSTER), changed, 'and little is written');

      // A bitmap that says that nothing has changed, of which all is audited.
      fs.writeFileSync(bitmap, Buffer.alloc(Math.ceil(bytes / 4096 / 8)));
      const dirty = `bitmap:${bitmap},since=${uuid}`;
      judge.remember(image, tag);
      const taken = await take({ ...options, tag, dirty, audit: 100 });
      const { stages, changedClusters, storedClusters } = taken;
      const of = Math.ceil(bytes / CLUSTER);
      t.match(taken.dirty.audit, { clusters: of, of, missed: changed });
      t.same([changedClusters, storedClusters], [changed, changed], `${tag}: taken`);
      const scan = stages.find(({ stage }) => stage === 'scan');
      t.equal(scan?.threads, changed === 0 ? 0 : 2);
      if (changed < 16) t.equal(scan?.batches, changed === 0 ? 0 : 17, 'a batch for 2 MiB each');
      else t.ok((scan?.batches ?? 0) > 17, 'spans were cut', { batches: scan?.batches });
      ({ uuid } = taken);
      parent = tag;
      if (changed > 0) continue;
      judge.remember(image, 'the same again');
      const again = await take({ ...options, tag: 'the same again' });
      t.match(again, { changedClusters: 0, storedClusters: 0 });
      t.match(again.stages, [{ stage: 'scan', threads: 2, batches: 17 }], 'all of it is read');
      ({ uuid, tag: parent } = again);
    }
    await judge.all(t);
  });
}
