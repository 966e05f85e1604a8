// The content of a new snapshot taken from a snapshot of another store: a run that reads that one hands its
// bytes over to the run that makes the new one.
//
//     map ─▶ fetch ─▶ decode ─▶ verify ─▶ recut ─▶ (the stages of a take)

import { alignExtents, type Extent, unionExtents } from '../disk/index.js';
import { type Batch, type Pools, run, type SlabPool } from '../pipeline/index.js';
import type { DigestReader, Snapshot, Store } from '../qcow2/index.js';
import { addChanges } from './diff.js';
import type { Feed } from './feed.js';
import { planReading } from './from-store.js';
import { SnapshotMap } from './map.js';
import { bytesIn } from './reading.js';
import { Recut } from './recut.js';
import type { RunOptions } from './run-options.js';
import { digestsOf, imageSizeOf } from './store.js';

/** Which snapshot is read, and what of it. */
export interface SnapshotSource {
  readonly store: Store;
  readonly snapshot: Snapshot;
  /** A snapshot of the same store that the new one's parent was made from: only what differs is read. */
  readonly base: Snapshot | undefined;
  /** For progress. */
  readonly verb: string;
}

/** Image bytes that have data, or that differ from the base, on boundaries of `step` bytes. */
export const extentsOf = ({ store, snapshot, base }: SnapshotSource, step: number): Extent[] => {
  const { clusterSize } = store.geometry;
  const size = imageSizeOf(store, snapshot);
  const found: Extent[] = [];
  const add = (first: number, count: number): void => {
    const [start, end] = [first * clusterSize, (first + count) * clusterSize];
    const last = found.at(-1);
    if (last?.end === start) found[found.length - 1] = { start: last.start, end };
    else found.push({ start, end });
  };
  const digests = base ? undefined : digestsOf(store, snapshot);
  if (base) addChanges(store, base, snapshot, add);
  else if (digests) {
    const end = store.geometry.clusters(size);
    for (const [from, to] of digests.dataRuns(0, end)) add(from, to - from);
  } else {
    const map = new SnapshotMap(store, snapshot, {
      size,
      window: { start: 0, end: size },
      digests: undefined,
    });
    for (const [from, to] of map.dataRuns()) add(from, to - from);
  }
  // A digest is of a cluster's content: where the two images end apart, it changes although no byte does.
  const baseSize = base ? imageSizeOf(store, base) : size;
  const end = Math.min(size, baseSize);
  const border = size !== baseSize && end > 0 ? [{ start: end - 1, end }] : [];
  return [...alignExtents(unionExtents(found, border), step, size)];
};

/** Reads the extents and hands their bytes over. */
const read = async (
  source: SnapshotSource,
  extents: readonly Extent[],
  recut: Recut,
  pools: Pools,
  options: RunOptions,
): Promise<void> => {
  const { store, snapshot, verb } = source;
  const digests = digestsOf(store, snapshot);
  const plan = planReading({ store, snapshot, digests, parts: extents, zerosToo: 'all' }, options);
  await run({
    ...plan,
    verb,
    pools,
    sink: (batch) => recut.take(batch),
    signal: options.signal,
  });
};

/** Feeds a new snapshot, of a store with clusters of `clusterSize` bytes, from an old one. */
export const snapshotFeed = (
  source: SnapshotSource,
  clusterSize: number,
  pools: Pools,
  options: RunOptions,
): Feed => {
  const step = Math.max(clusterSize, source.store.geometry.clusterSize);
  const extents = extentsOf(source, step);
  return {
    verb: source.verb,
    imageSize: imageSizeOf(source.store, source.snapshot),
    image: undefined,
    mostlySame: false,
    bytes: bytesIn(extents),
    gaps: [],
    source: async function* (
      slabs: SlabPool,
      known: DigestReader | undefined,
    ): AsyncGenerator<Batch> {
      const recut = new Recut(slabs, imageSizeOf(source.store, source.snapshot), known);
      const reading = read(source, extents, recut, pools, options).then(
        () => recut.end(),
        (error: unknown) => recut.end(error),
      );
      try {
        yield* recut.batches();
      } finally {
        recut.abandon();
        await reading;
      }
    },
  };
};
