// diff: where two snapshots of a store differ, out of their tables and digests alone. No data is read.

import { DIGEST_BYTES, type HostOffset } from '../disk/index.js';
import {
  DigestReader,
  L2Table,
  type OwnSnapshot,
  offsetOf,
  type Snapshot,
  type Store,
  type Table,
} from '../qcow2/index.js';
import { LATEST, usableSnapshot } from './names.js';
import { digesterOf, type StageOptions, unlockDigests } from './plugged.js';
import { type Range, Ranges } from './ranges.js';
import { asOwn, imageSizeOf, withStore } from './store.js';

export interface DiffOptions extends StageOptions {
  readonly store: string;
  /** A tag, "#id", uuid prefix or "latest". */
  readonly from: string;
  /** The same; default: the latest. */
  readonly to?: string | undefined;
}

/** Where two snapshots differ. Sizes in bytes, times in milliseconds. */
export interface DiffResult {
  readonly store: string;
  /** Tags. */
  readonly from: string;
  readonly to: string;
  /** Sizes of their images; past its end an image counts as zeros. */
  readonly fromBytes: number;
  readonly toBytes: number;
  /**
   * True when digests were compared: every range holds a difference in each of its clusters (the cluster in which
   * the shorter of two images ends counts as different). False for snapshots of other programs: their
   * tables say where data are, so a range may hold equal data stored twice.
   */
  readonly exact: boolean;
  readonly changedBytes: number;
  /** How many ranges there are, and the first 100000 of them. */
  readonly rangeCount: number;
  readonly ranges: readonly Range[];
  readonly elapsedMs: number;
}

/** Adds the clusters whose digests differ. Whole clusters of equal digests are passed over by their own. */
const compareDigests = (
  store: Store,
  [from, to]: readonly [OwnSnapshot, OwnSnapshot],
  add: (first: number, count: number) => void,
): void => {
  const digester = digesterOf(store);
  const a = new DigestReader(store, from, digester);
  const b = new DigestReader(store, to, digester);
  const { perCluster } = a.layout;
  const [x, y] = [Buffer.alloc(perCluster * DIGEST_BYTES), Buffer.alloc(perCluster * DIGEST_BYTES)];
  for (let table = 0; table < Math.max(a.layout.table, b.layout.table); table += 1) {
    const at = table * DIGEST_BYTES;
    const [p, q] = [a, b].map(({ index }) => index.subarray(at, at + DIGEST_BYTES));
    if (p?.length === DIGEST_BYTES && q?.length === DIGEST_BYTES && p.equals(q)) continue;
    a.read(table * perCluster, perCluster, x);
    b.read(table * perCluster, perCluster, y);
    for (let i = 0; i < perCluster; i += 1) {
      const [start, end] = [i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES];
      if (x.compare(y, start, end, start, end) !== 0) add(table * perCluster + i, 1);
    }
  }
};

/** Where the L2 table of an L1 entry lies; undefined where there is none. */
const placeOf = (l1: Table, index: number): HostOffset | undefined => {
  if (index >= l1.length) return undefined;
  const offset = offsetOf(l1.hi(index), l1.lo(index));
  return offset === 0 ? undefined : offset;
};

const tableAt = (store: Store, offset: HostOffset | undefined): L2Table =>
  offset === undefined ? L2Table.empty(store.geometry.l2Entries) : store.l2(offset);

/** Adds the clusters whose entries differ. Shared tables are passed over. */
const compareTables = (
  store: Store,
  [from, to]: readonly [Snapshot, Snapshot],
  clusters: number,
  add: (first: number, count: number) => void,
): void => {
  const { l2Entries } = store.geometry;
  const [a, b] = [store.l1(from.entry), store.l1(to.entry)];
  for (let index = 0; index * l2Entries < clusters; index += 1) {
    const [p, q] = [placeOf(a, index), placeOf(b, index)];
    if (p === q) continue;
    const [x, y] = [tableAt(store, p), tableAt(store, q)];
    const end = Math.min(l2Entries, clusters - index * l2Entries);
    for (let i = 0; i < end; i += 1) {
      if (!x.isSame(i, y)) add(index * l2Entries + i, 1);
    }
  }
};

/** Adds runs of clusters in which two snapshots may differ, in ascending order; true when they are sure to. */
export const addChanges = (
  store: Store,
  from: Snapshot,
  to: Snapshot,
  add: (first: number, count: number) => void,
): boolean => {
  const { geometry } = store;
  const [a, b] = [asOwn(from), asOwn(to)];
  if (store.facts && a && b) {
    compareDigests(store, [a, b], add);
    return true;
  }
  const bytes = Math.max(imageSizeOf(store, from), imageSizeOf(store, to));
  compareTables(store, [from, to], geometry.clusters(bytes), add);
  return false;
};

/** Says where two snapshots differ. Rejects with a Fault. */
export const diff = (options: DiffOptions): Promise<DiffResult> => {
  const began = performance.now();
  return withStore(options.store, async (store) => {
    await unlockDigests(store, options);
    const { geometry } = store;
    const from = usableSnapshot(store, options.from);
    const to = usableSnapshot(store, options.to ?? LATEST);
    const sizes = [imageSizeOf(store, from), imageSizeOf(store, to)] as const;
    const bytes = Math.max(...sizes);
    const ranges = new Ranges();
    const add = (first: number, count: number): void => {
      const start = first * geometry.clusterSize;
      ranges.add(start, Math.min(count * geometry.clusterSize, bytes - start));
    };
    const exact = addChanges(store, from, to, add);
    return {
      store: options.store,
      from: from.entry.tag,
      to: to.entry.tag,
      fromBytes: sizes[0],
      toBytes: sizes[1],
      exact,
      changedBytes: ranges.bytes,
      rangeCount: ranges.count,
      ranges: ranges.kept,
      elapsedMs: Math.round(performance.now() - began),
    };
  });
};
