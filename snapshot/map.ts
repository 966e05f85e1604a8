// Where each cluster of a snapshot lies: fills batches with kinds, places and recorded digests, ready
// to be fetched. Parts that read as zeros are not made into batches at all, once their digests say so
// too.

import { DIGEST_BYTES, fault, isZeroDigest } from '../disk/index.js';
import { type Batch, Kind, type SlabPool } from '../pipeline/index.js';
import {
  type DigestReader,
  decodePacked,
  kindOf,
  offsetOf,
  type Snapshot,
  type Store,
  type Table,
} from '../qcow2/index.js';

export class SnapshotMap {
  readonly #store: Store;
  readonly #l1: Table;
  readonly #size: number;
  readonly #digests: DigestReader | undefined;
  #zeroBytes = 0;
  #l2: { index: number; table: Table } | undefined;

  /** `size` is the image's in bytes. */
  constructor(store: Store, snapshot: Snapshot, size: number, digests: DigestReader | undefined) {
    this.#store = store;
    this.#l1 = store.l1(snapshot.entry);
    this.#size = size;
    this.#digests = digests;
  }

  /** The L2 table of L1 entry `index`; undefined where there is none. */
  #table(index: number): Table | undefined {
    if (this.#l2?.index === index) return this.#l2.table;
    if (index >= this.#l1.length) return undefined;
    const offset = offsetOf(this.#l1.hi(index), this.#l1.lo(index));
    if (offset === 0) return undefined;
    const table = this.#store.l2(offset);
    this.#l2 = { index, table };
    return table;
  }

  /** Image bytes met so far that read as zeros. */
  get zeroBytes(): number {
    return this.#zeroBytes;
  }

  /** Leased batches for all that does not read as zeros, in image order; `skip` hears of the rest. */
  async *batches(slabs: SlabPool, skip: (bytes: number) => void): AsyncGenerator<Batch> {
    const { geometry } = this.#store;
    const end = geometry.clusters(this.#size);
    let at = 0;
    while (at < end) {
      const index = Math.floor(at / geometry.l2Entries);
      const stop = Math.min(end, (index + 1) * geometry.l2Entries);
      const table = this.#table(index);
      if (!table) {
        skip(this.#zeros(at, stop));
        at = stop;
        continue;
      }
      while (at < stop) {
        const zeros = this.#zerosFrom(table, at, stop);
        if (zeros > at) {
          skip(this.#zeros(at, zeros));
          at = zeros;
          continue;
        }
        const batch = await slabs.lease();
        at += this.#fill(batch, table, at, stop);
        yield batch;
      }
    }
  }

  /** The first cluster from `at` on that does not read as zeros. */
  #zerosFrom(table: Table, at: number, stop: number): number {
    const { l2Entries } = this.#store.geometry;
    let c = at;
    while (c < stop) {
      const kind = kindOf(table.hi(c % l2Entries), table.lo(c % l2Entries));
      if (kind !== 'unallocated' && kind !== 'zero') break;
      c += 1;
    }
    return c;
  }

  /** Fills a batch from cluster `first` on; returns how many clusters it holds. */
  #fill(batch: Batch, table: Table, first: number, stop: number): number {
    const { clusterSize, l2Entries } = this.#store.geometry;
    const most = Math.min(stop - first, batch.layout.clusters);
    const bytes = Math.min(most * clusterSize, this.#size - first * clusterSize);
    batch.begin(first * clusterSize, bytes);
    const payloads = new PayloadSpace(batch);
    let count = 0;
    while (count < most) {
      const slot = (first + count) % l2Entries;
      if (!this.#enter(batch, count, table.hi(slot), table.lo(slot), payloads)) break;
      count += 1;
    }
    if (count < most) batch.shorten(count);
    this.#digests?.read(first, count, batch.known);
    return count;
  }

  /** Enters one cluster in a batch; false when its payload does not fit any more. */
  #enter(batch: Batch, i: number, hi: number, lo: number, payloads: PayloadSpace): boolean {
    const { geometry } = this.#store;
    const kind = kindOf(hi, lo);
    if (kind === 'unallocated' || kind === 'zero') {
      batch.kinds[i] = Kind.zero;
      this.#zeroBytes += batch.lengthOf(i);
    } else if (kind === 'plain') {
      const offset = offsetOf(hi, lo);
      if (!geometry.isAligned(offset)) {
        throw fault('store-damaged', {
          path: this.#store.path,
          problem: `a data cluster at ${offset} is not on a cluster boundary`,
        });
      }
      batch.kinds[i] = Kind.plain;
      batch.places[i] = offset;
    } else {
      const { offset, length } = decodePacked(hi, lo, geometry.clusterBits);
      const start = payloads.place(offset, length);
      if (start === undefined) return false;
      batch.kinds[i] = Kind.packed;
      batch.places[i] = offset;
      batch.starts[i] = start;
      batch.lengths[i] = length;
    }
    return true;
  }

  /** Image bytes of clusters [from, to), which read as zeros, if their digests agree. */
  #zeros(from: number, to: number): number {
    const { clusterSize } = this.#store.geometry;
    this.#checkZeroDigests(from, to);
    const bytes = Math.min(to * clusterSize, this.#size) - from * clusterSize;
    this.#zeroBytes += bytes;
    return bytes;
  }

  #checkZeroDigests(from: number, to: number): void {
    const digests = this.#digests;
    if (!digests) return;
    const { clusterSize } = this.#store.geometry;
    const { perCluster } = digests.layout;
    let at = from;
    while (at < to) {
      const cluster = Math.floor(at / perCluster);
      const stop = Math.min(to, (cluster + 1) * perCluster);
      if (!isZeroDigest(digests.index, cluster * DIGEST_BYTES)) {
        const table = digests.tableCluster(cluster);
        for (let c = at; c < stop; c += 1) {
          if (isZeroDigest(table, (c % perCluster) * DIGEST_BYTES)) continue;
          throw fault('digest-mismatch', { offset: c * clusterSize, length: clusterSize });
        }
      }
      at = stop;
    }
  }
}

/** Lays payloads out in a slab so that neighbours in the store are neighbours there. */
export class PayloadSpace {
  readonly #capacity: number;
  #used = 0;
  /** Host byte offset minus slab offset of the piece at hand. */
  #shift = 0;
  #lastOffset = -1;

  constructor(batch: Batch) {
    this.#capacity = batch.packed.length;
  }

  /** Where a payload of `length` bytes at host byte `offset` goes; undefined when there is no room. */
  place(offset: number, length: number): number | undefined {
    const adjoins =
      offset >= this.#lastOffset && offset - this.#shift <= this.#used && this.#lastOffset >= 0;
    const start = adjoins ? offset - this.#shift : this.#used;
    if (start + length > this.#capacity) return undefined;
    this.#shift = offset - start;
    this.#lastOffset = offset;
    this.#used = Math.max(this.#used, start + length);
    return start;
  }
}
