// Where each cluster of a snapshot lies: fills batches with kinds, places and recorded digests, ready
// to be fetched. Parts that read as zeros are not made into batches at all, once their digests say so
// too.

import { DIGEST_BYTES, type Extent, Fault, fault, isZeroDigest } from '../disk/index.js';
import { type Batch, Kind, type SlabPool } from '../pipeline/index.js';
import {
  type DigestReader,
  type L2Table,
  offsetOf,
  type Snapshot,
  type Store,
  type Table,
} from '../qcow2/index.js';
import { Locator } from './locator.js';

/** What is to be read of a snapshot. */
export interface MapUse {
  /** Size of its image in bytes. */
  readonly size: number;
  /** The image bytes that are wanted. */
  readonly window: Extent;
  /** The digests to hold everything against; undefined where there are none. */
  readonly digests: DigestReader | undefined;
  /** Which clusters come in batches although they read as zeros: the last one, all; left out: none must. */
  readonly zerosToo?: 'last' | 'all' | undefined;
  /** Hears of damaged image bytes [start, end) that no batch stands for; left out, all damage is thrown. */
  readonly damaged?: ((start: number, end: number) => void) | undefined;
}

/** Hears of image bytes [start, end) that no batch will stand for, since they read as zeros. */
export type ZeroListener = (start: number, end: number) => void | Promise<void>;

export class SnapshotMap {
  readonly #store: Store;
  readonly #l1: Table;
  readonly #use: MapUse;
  #zeroBytes = 0;
  #l2: { index: number; table: L2Table } | undefined;

  constructor(store: Store, snapshot: Snapshot, use: MapUse) {
    this.#store = store;
    this.#l1 = store.l1(snapshot.entry);
    this.#use = use;
  }

  /** The L2 table of L1 entry `index`; undefined where there is none. */
  #table(index: number): L2Table | undefined {
    if (this.#l2?.index === index) return this.#l2.table;
    if (index >= this.#l1.length) return undefined;
    const offset = offsetOf(this.#l1.hi(index), this.#l1.lo(index));
    if (offset === 0) return undefined;
    const table = this.#store.l2(offset);
    this.#l2 = { index, table };
    return table;
  }

  /** Wanted image bytes met so far that read as zeros. */
  get zeroBytes(): number {
    return this.#zeroBytes;
  }

  /** Leased batches for all of a part that is wanted and does not read as zeros, in image order. */
  async *batchesOf(part: Extent, slabs: SlabPool, zeros: ZeroListener): AsyncGenerator<Batch> {
    const { geometry } = this.#store;
    const end = geometry.clusters(part.end);
    let at = Math.floor(part.start / geometry.clusterSize);
    while (at < end) {
      const stop = Math.min(end, (Math.floor(at / geometry.l2Entries) + 1) * geometry.l2Entries);
      const mayEnd = this.#endOfZeros(at, stop, end);
      const next = this.#suffer(() => (at < mayEnd ? this.#zerosFrom(at, mayEnd) : at));
      if (next === undefined) {
        this.#lose(at, mayEnd);
        await this.#skip(at, mayEnd, zeros);
        at = mayEnd;
        continue;
      }
      if (next > at) {
        await this.#skip(at, next, zeros);
        at = next;
        continue;
      }
      const batch = await slabs.lease();
      at += this.#fill(batch, at, stop);
      yield batch;
    }
  }

  /** Runs [from, to) of wanted clusters that are stored, in order; nothing is held against digests. */
  *dataRuns(): Generator<readonly [from: number, to: number]> {
    const { geometry } = this.#store;
    const { window } = this.#use;
    const end = geometry.clusters(window.end);
    let at = Math.floor(window.start / geometry.clusterSize);
    while (at < end) {
      const stop = Math.min(end, (Math.floor(at / geometry.l2Entries) + 1) * geometry.l2Entries);
      const from = this.#firstOf(at, stop, false);
      const to = this.#firstOf(from, stop, true);
      if (to > from) yield [from, to];
      at = to;
    }
  }

  /** The first cluster of [at, stop), below one L2 table, that reads as zeros, or does not; else `stop`. */
  #firstOf(at: number, stop: number, isZero: boolean): number {
    const { l2Entries } = this.#store.geometry;
    if (at === stop) return stop;
    const table = this.#table(Math.floor(at / l2Entries));
    if (!table) return isZero ? at : stop;
    for (let c = at; c < stop; c += 1) {
      const kind = table.kind(c % l2Entries);
      if ((kind === 'unallocated' || kind === 'zero') === isZero) return c;
    }
    return stop;
  }

  /** Up to which cluster zeros may be skipped from `at` on. */
  #endOfZeros(at: number, stop: number, end: number): number {
    const { zerosToo } = this.#use;
    if (zerosToo === 'all') return at;
    return zerosToo === 'last' && stop === end ? end - 1 : stop;
  }

  /** For a batch that `locate` is to be called for. */
  locator(batch: Batch): Locator {
    return new Locator(this.#store, batch);
  }

  /**
   * Enters where cluster `i` of a batch lies. The batch has room for two clusters of payload each: as much as
   * a descriptor can ask for.
   */
  locate(batch: Batch, i: number, locator: Locator): void {
    const { clusterSize, l2Entries } = this.#store.geometry;
    const cluster = batch.offset / clusterSize + i;
    const entered = this.#suffer(() => {
      const table = this.#table(Math.floor(cluster / l2Entries));
      return this.#enter(batch, i, table, cluster % l2Entries, locator);
    });
    if (entered === undefined) batch.kinds[i] = Kind.damaged;
    else if (!entered)
      throw new Error(`no room in its batch for the payload of cluster ${cluster}`);
  }

  /** What `read` returns; undefined where tables or digests are damaged and the caller wants to go on. */
  #suffer<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      const isDamage = error instanceof Fault && error.exitCode === 3;
      if (!isDamage || !this.#use.damaged) throw error;
      return undefined;
    }
  }

  /** Tells of clusters [from, to) that no batch will stand for. */
  #lose(from: number, to: number): void {
    const { start, end } = this.#bytesOf(from, to);
    this.#use.damaged?.(start, end);
  }

  /** The wanted image bytes of clusters [from, to). */
  #bytesOf(from: number, to: number): Extent {
    const { clusterSize } = this.#store.geometry;
    const { window } = this.#use;
    return {
      start: Math.max(window.start, from * clusterSize),
      end: Math.min(window.end, to * clusterSize),
    };
  }

  async #skip(from: number, to: number, zeros: ZeroListener): Promise<void> {
    const { start, end } = this.#bytesOf(from, to);
    this.#zeroBytes += end - start;
    await zeros(start, end);
  }

  /** The first cluster from `at` on that does not read as zeros; those before it have such digests. */
  #zerosFrom(at: number, stop: number): number {
    const next = this.#firstOf(at, stop, false);
    this.#checkZeroDigests(at, next);
    return next;
  }

  /** Fills a batch from cluster `first` on; returns how many clusters it holds. */
  #fill(batch: Batch, first: number, stop: number): number {
    const { clusterSize, l2Entries } = this.#store.geometry;
    const { size, digests } = this.#use;
    const table = this.#table(Math.floor(first / l2Entries));
    const most = Math.min(stop - first, batch.layout.clusters);
    batch.begin(first * clusterSize, Math.min(most * clusterSize, size - first * clusterSize));
    const locator = new Locator(this.#store, batch);
    let count = 0;
    while (count < most) {
      const slot = (first + count) % l2Entries;
      const fits = this.#suffer(() => this.#enter(batch, count, table, slot, locator));
      if (fits === false) break;
      if (fits === undefined) batch.kinds[count] = Kind.damaged;
      count += 1;
    }
    if (count < most) batch.shorten(count);
    const read = this.#suffer(() => {
      digests?.read(first, count, batch.known);
      return true;
    });
    if (!read) batch.kinds.fill(Kind.damaged, 0, count);
    return count;
  }

  /** Enters one cluster in a batch; false when its payload does not fit any more. */
  #enter(
    batch: Batch,
    i: number,
    table: L2Table | undefined,
    slot: number,
    locator: Locator,
  ): boolean {
    const { geometry } = this.#store;
    const kind = table?.kind(slot) ?? 'unallocated';
    if (!table || kind === 'unallocated' || kind === 'zero') {
      const cluster = batch.offset / geometry.clusterSize + i;
      batch.kinds[i] = Kind.zero;
      const { start, end } = this.#bytesOf(cluster, cluster + 1);
      this.#zeroBytes += end - start;
      return true;
    }
    return locator.enter(i, table, slot);
  }

  /** Clusters [from, to) read as zeros: so must their digests say. */
  #checkZeroDigests(from: number, to: number): void {
    const { digests } = this.#use;
    if (!digests) return;
    const { perCluster } = digests.layout;
    for (let at = from, stop = at; at < to; at = stop) {
      const cluster = Math.floor(at / perCluster);
      stop = Math.min(to, (cluster + 1) * perCluster);
      if (isZeroDigest(digests.index, cluster * DIGEST_BYTES)) continue;
      const table = this.#suffer(() => digests.tableCluster(cluster));
      if (!table) this.#lose(at, stop);
      for (let c = at; table && c < stop; c += 1) {
        if (!isZeroDigest(table, (c % perCluster) * DIGEST_BYTES)) this.#refuseZeros(c);
      }
    }
  }

  #refuseZeros(cluster: number): void {
    const { clusterSize } = this.#store.geometry;
    this.#suffer(() => {
      throw fault('digest-mismatch', { offset: cluster * clusterSize, length: clusterSize });
    });
    this.#lose(cluster, cluster + 1);
  }
}
