// The digests of a snapshot, in its vmstate area (docs/format.md, "Digests"):
//
//    digest table   16 bytes per guest cluster, all zero where the cluster reads as zeros
//    index          16 bytes per cluster of the digest table: its own digest, zero if it is all zero
//    root           the digest of the index, in the snapshot's record
//
// So any cluster of digests can be checked on its own before it is believed, and clusters of digests
// that did not change are shared with the parent like any other cluster.

import { DIGEST_BYTES, type Digester, fault, isZeroDigest, sameDigest } from '../disk/index.js';
import { type DigestLayout, digestL1Entries, digestLayout } from './digest-layout.js';
import type { Geometry } from './geometry.js';
import type { SnapshotRecord } from './record.js';
import type { Snapshot } from './snapshot.js';
import type { Store } from './store.js';
import type { Table } from './table.js';
import { type TableSink, TreeWriter } from './tree.js';
import { highOf, kindOf, lowOf, offsetOf } from './words.js';

const DIGEST_WORDS = DIGEST_BYTES / 4;

/** Digests in words of 32 bits, to be looked at four bytes at a time. */
const wordsOf = (digests: Uint8Array): Uint32Array => {
  const { buffer, byteOffset, length } = digests.byteOffset % 4 === 0 ? digests : digests.slice();
  return new Uint32Array(buffer, byteOffset, length / 4);
};

/** True when digest `i` is not that of zeros. */
const isData = (words: Uint32Array, i: number): boolean => {
  const at = i * DIGEST_WORDS;
  // Of nearly all that are not, the first word says it.
  return words[at] !== 0 || words[at + 1] !== 0 || words[at + 2] !== 0 || words[at + 3] !== 0;
};

/** The end of the run, of zeros or of data, that digest `i` is in; `end` if there is none before. */
const endOfRun = (words: Uint32Array, i: number, end: number): number => {
  const data = isData(words, i);
  let next = i + 1;
  while (next < end && isData(words, next) === data) next += 1;
  return next;
};

/** Reads and checks the digests of one snapshot. */
export class DigestReader {
  readonly #store: Store;
  readonly #digester: Digester;
  readonly #l1: Table;
  readonly #record: SnapshotRecord;
  readonly layout: DigestLayout;
  /** The index, whole: 16 bytes per cluster of the digest table. */
  readonly index: Buffer;
  #l2: { index: number; table: Table } | undefined;
  /** What was read of the area last. */
  readonly #memory: Buffer;
  /** Which cluster of the digest table that is, checked; undefined for anything else. */
  #held: number | undefined;

  /** Reads the index and checks it against the record's root. */
  constructor(store: Store, snapshot: Snapshot & { record: SnapshotRecord }, digester: Digester) {
    this.#store = store;
    this.#digester = digester;
    this.#record = snapshot.record;
    this.#l1 = store.l1(snapshot.entry);
    this.layout = digestLayout(store.geometry, snapshot.record.imageSize);
    const { clusterSize } = store.geometry;
    this.#memory = Buffer.alloc(clusterSize);
    // The L1 table lies in the file, so this bounds what a hostile record can make us allocate.
    const area = digestL1Entries(store.geometry, snapshot.record.imageSize);
    if (snapshot.record.digestL1 + area > this.#l1.length) this.#damaged('the size of the digests');
    this.index = Buffer.alloc(this.layout.table * DIGEST_BYTES);
    for (let i = 0; i < this.layout.index; i += 1) {
      this.#readArea(this.layout.table + i).copy(this.index, i * clusterSize);
    }
    if (rootOf(digester, this.index) !== this.#record.root) {
      this.#damaged('the index of its digests');
    }
  }

  #damaged(what: string): never {
    throw fault('store-damaged', {
      path: this.#store.path,
      problem: `${what} of snapshot ${this.#record.uuid} does not match its own digest`,
    });
  }

  /** Bytes of the snapshot's image. */
  get imageSize(): number {
    return this.#record.imageSize;
  }

  /** One cluster of the area, until the next call; zeros where none is allocated. */
  #readArea(cluster: number): Buffer {
    const { l2Entries } = this.#store.geometry;
    const index = this.#record.digestL1 + Math.floor(cluster / l2Entries);
    const l2Offset = index < this.#l1.length ? offsetOf(this.#l1.hi(index), this.#l1.lo(index)) : 0;
    if (l2Offset === 0) return this.#memory.fill(0);
    if (this.#l2?.index !== index) this.#l2 = { index, table: this.#store.l2(l2Offset) };
    const slot = cluster % l2Entries;
    const hi = this.#l2.table.hi(slot);
    const lo = this.#l2.table.lo(slot);
    const kind = kindOf(hi, lo);
    if (kind === 'unallocated' || kind === 'zero') return this.#memory.fill(0);
    if (kind === 'packed') this.#damaged('the digest table');
    this.#store.readInto(this.#memory, offsetOf(hi, lo), 'a cluster of digests');
    return this.#memory;
  }

  /** Cluster `cluster` of the digest table, checked. The buffer is valid until the next call. */
  tableCluster(cluster: number): Buffer {
    if (this.#held === cluster) return this.#memory;
    this.#held = undefined;
    if (isZeroDigest(this.index, cluster * DIGEST_BYTES)) this.#memory.fill(0);
    else this.#readChecked(cluster);
    this.#held = cluster;
    return this.#memory;
  }

  #readChecked(cluster: number): void {
    const own = Buffer.alloc(DIGEST_BYTES);
    this.#digester.digest(this.#readArea(cluster), own, 0);
    if (!sameDigest(own, 0, this.index, cluster * DIGEST_BYTES)) this.#damaged('the digest table');
  }

  /** Runs [from, to) of guest clusters in [first, end) that do not read as zeros, in order. */
  *dataRuns(first: number, end: number): Generator<readonly [from: number, to: number]> {
    const { perCluster, table } = this.layout;
    const last = Math.min(end, table * perCluster);
    let from = -1;
    for (let at = first; at < last; ) {
      const cluster = Math.floor(at / perCluster);
      const start = cluster * perCluster;
      const stop = Math.min(last, start + perCluster);
      const isZero = isZeroDigest(this.index, cluster * DIGEST_BYTES);
      let words = isZero ? undefined : wordsOf(this.tableCluster(cluster));
      while (at < stop) {
        const next = words ? endOfRun(words, at - start, stop - start) + start : stop;
        const hasData = words !== undefined && isData(words, at - start);
        if (hasData && from < 0) from = at;
        if (!hasData && from >= 0) {
          yield [from, at];
          from = -1;
          // Whoever was told may have asked for others meanwhile.
          words = words && wordsOf(this.tableCluster(cluster));
        }
        at = next;
      }
    }
    if (from >= 0) yield [from, last];
  }

  /** Copies the digests of guest clusters [first, first + count) into `into`; zeros past the end. */
  read(first: number, count: number, into: Uint8Array): void {
    const { perCluster, table } = this.layout;
    let done = 0;
    while (done < count) {
      const cluster = Math.floor((first + done) / perCluster);
      const slot = (first + done) % perCluster;
      const take = Math.min(count - done, perCluster - slot);
      const to = into.subarray(done * DIGEST_BYTES, (done + take) * DIGEST_BYTES);
      if (cluster >= table) to.fill(0);
      else
        to.set(
          this.tableCluster(cluster).subarray(slot * DIGEST_BYTES, (slot + take) * DIGEST_BYTES),
        );
      done += take;
    }
  }
}

/** How many of these digests are not of zeros. */
const countDigests = (digests: Uint8Array): number => {
  const words = wordsOf(digests);
  let count = 0;
  for (let i = 0; i < words.length / DIGEST_WORDS; i += 1) if (isData(words, i)) count += 1;
  return count;
};

/** Writes the digests of a new snapshot on top of its parent's, in ascending order. */
export class DigestWriter {
  readonly #parent: DigestReader | undefined;
  readonly #digester: Digester;
  readonly #sink: TableSink;
  readonly #geometry: Geometry;
  readonly #layout: DigestLayout;
  readonly #tree: TreeWriter;
  readonly #index: Buffer;
  #open: { cluster: number; digests: Buffer; changed: boolean } | undefined;

  /** `l1` holds the parent's digest tables from entry `digestL1` on, if there is a parent. */
  constructor(
    store: Store,
    sink: TableSink,
    digester: Digester,
    at: { l1: Table; digestL1: number; imageSize: number; parent: DigestReader | undefined },
  ) {
    this.#parent = at.parent;
    this.#digester = digester;
    this.#sink = sink;
    this.#geometry = store.geometry;
    this.#layout = digestLayout(store.geometry, at.imageSize);
    this.#tree = new TreeWriter(store, sink, at.l1, at.digestL1);
    this.#index = Buffer.alloc(this.#layout.table * DIGEST_BYTES);
    if (at.parent) {
      at.parent.index.copy(this.#index);
      this.#forgetMovedIndex(store, at, at.parent.layout);
    }
  }

  /** The index follows the table: when the table's length changes, what lay behind it is dropped. */
  #forgetMovedIndex(store: Store, at: { l1: Table; digestL1: number }, parent: DigestLayout): void {
    if (parent.table === this.#layout.table) return;
    const inherited = (at.l1.length - at.digestL1) * this.#geometry.l2Entries;
    const tail = new TreeWriter(store, this.#sink, at.l1, at.digestL1);
    tail.clear(Math.min(parent.table, this.#layout.table), inherited);
    tail.finish();
  }

  #clusterFor(cluster: number): { cluster: number; digests: Buffer; changed: boolean } {
    if (this.#open?.cluster === cluster) return this.#open;
    this.#flush();
    const known = this.#parent && cluster < this.#parent.layout.table;
    const digests = known
      ? Buffer.from(this.#parent.tableCluster(cluster))
      : Buffer.alloc(this.#geometry.clusterSize);
    this.#open = { cluster, digests, changed: false };
    return this.#open;
  }

  /** Sets the digests of `count` guest clusters from `cluster` on to what lies at `from[at]`. */
  set(cluster: number, count: number, from: Uint8Array, at: number): void {
    const { perCluster } = this.#layout;
    let done = 0;
    while (done < count) {
      const open = this.#clusterFor(Math.floor((cluster + done) / perCluster));
      const slot = (cluster + done) % perCluster;
      const some = Math.min(count - done, perCluster - slot);
      const start = at + done * DIGEST_BYTES;
      open.digests.set(from.subarray(start, start + some * DIGEST_BYTES), slot * DIGEST_BYTES);
      open.changed = true;
      done += some;
    }
  }

  /** Says that guest clusters [from, to) read as zeros; returns how many did not before. */
  clear(from: number, to: number): number {
    const { perCluster, table } = this.#layout;
    let cleared = 0;
    let at = from;
    while (at < to) {
      const cluster = Math.floor(at / perCluster);
      const stop = Math.min(to, (cluster + 1) * perCluster);
      const untouched = this.#open?.cluster !== cluster;
      if (cluster < table && !(untouched && isZeroDigest(this.#index, cluster * DIGEST_BYTES))) {
        const open = this.#clusterFor(cluster);
        const slot = (at % perCluster) * DIGEST_BYTES;
        const range = open.digests.subarray(slot, slot + (stop - at) * DIGEST_BYTES);
        const count = countDigests(range);
        if (count > 0) {
          range.fill(0);
          open.changed = true;
          cleared += count;
        }
      }
      at = stop;
    }
    return cleared;
  }

  #flush(): void {
    const open = this.#open;
    this.#open = undefined;
    if (!open?.changed) return;
    this.#put(open.cluster, open.digests);
    if (open.digests.every((byte) => byte === 0))
      this.#index.fill(0, open.cluster * DIGEST_BYTES, (open.cluster + 1) * DIGEST_BYTES);
    else this.#digester.digest(open.digests, this.#index, open.cluster * DIGEST_BYTES);
  }

  /** Stores one cluster of the area, or leaves it unallocated when it is all zero. */
  #put(cluster: number, content: Buffer): void {
    if (content.every((byte) => byte === 0)) {
      this.#tree.set(cluster, 0, 0);
      return;
    }
    const offset = this.#sink.writeCluster(content);
    this.#tree.set(cluster, highOf(offset), lowOf(offset));
  }

  /** Writes what is left and the index; returns the root, in hexadecimal. */
  finish(): string {
    this.#flush();
    const { clusterSize } = this.#geometry;
    const { table, index } = this.#layout;
    const samePlace = this.#parent?.layout.table === table;
    if (!(samePlace && this.#parent?.index.equals(this.#index))) {
      for (let i = 0; i < index; i += 1) {
        const content = Buffer.alloc(clusterSize);
        this.#index.copy(content, 0, i * clusterSize, (i + 1) * clusterSize);
        this.#put(table + i, content);
      }
    }
    this.#tree.finish();
    return rootOf(this.#digester, this.#index);
  }
}

/** The digest of an index, in hexadecimal. */
const rootOf = (digester: Digester, index: Buffer): string => {
  const root = Buffer.alloc(DIGEST_BYTES);
  digester.digest(index, root, 0);
  return root.toString('hex');
};

/** The part of a parent's L1 that holds its digests, laid out for a child. */
export const inheritDigests = (
  geometry: Geometry,
  parent: { l1: Table; record: SnapshotRecord } | undefined,
  into: { l1: Table; digestL1: number; imageSize: number },
): void => {
  if (!parent) return;
  const entries = Math.min(
    digestL1Entries(geometry, parent.record.imageSize),
    digestL1Entries(geometry, into.imageSize),
    parent.l1.length - parent.record.digestL1,
  );
  for (let i = 0; i < entries; i += 1) {
    const from = parent.record.digestL1 + i;
    into.l1.set(into.digestL1 + i, parent.l1.hi(from), parent.l1.lo(from));
  }
};
