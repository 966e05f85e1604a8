// Walks the tables of several snapshots side by side and fills batches with every stored cluster once: a
// cluster of one snapshot that the snapshot before it has too, with the same entry and the same digest, is
// not looked at again. Snapshots come oldest first, so what they share is found this way, however many of
// them share it. Where there are no digests, the entry alone decides.

import { DIGEST_BYTES, Fault, isZeroDigest, sameDigest } from '../disk/index.js';
import { type Batch, Kind, type SlabPool } from '../pipeline/index.js';
import {
  type DigestReader,
  L2Table,
  offsetOf,
  type Snapshot,
  type Store,
  type Table,
} from '../qcow2/index.js';
import { Locator } from './locator.js';

/** One of the snapshots. */
export interface Swept {
  readonly snapshot: Snapshot;
  readonly l1: Table;
  /** Undefined where another program made the snapshot. */
  readonly digests: DigestReader | undefined;
  /** Size of its image in bytes. */
  readonly size: number;
}

/** What one snapshot says of a range of clusters. */
interface View {
  readonly count: number;
  /** Bytes of its image from the first of them on, at most those that the clusters have. */
  readonly bytes: number;
  readonly table: L2Table;
  /** 16 bytes per cluster, where there are any. */
  readonly digests: Buffer | undefined;
}

/** The clusters of one snapshot below one L1 entry: `count` of them from guest cluster `first` on. */
interface Part {
  readonly swept: Swept;
  readonly first: number;
  readonly count: number;
  readonly view: View;
  /** What the snapshot before says of them. */
  readonly before: View | undefined;
}

/** Damage that needs no data to be seen. `spreads`: it hurts whoever has the same entry. */
export type Report = (
  swept: Swept,
  first: number,
  count: number,
  problem: string,
  spreads: boolean,
) => void;

/** What part of everything is to be read. */
export interface SweepPart {
  /** True for a cluster that is to be read; for samples. */
  readonly isChosen: () => boolean;
  /** Where to begin, 0 to 1, before going round; left out: at the beginning. */
  readonly from?: number;
  /** True when nothing more is to be read. */
  readonly isOver?: () => boolean;
}

const ZEROED = 'it reads as zeros, and did not when it was taken';

export class Sweep {
  readonly #store: Store;
  readonly #swept: readonly Swept[];
  readonly #report: Report;
  readonly #part: SweepPart;
  #complete = false;
  /** Which snapshot each batch on its way is of, by its slab. */
  readonly #owners = new Map<number, Swept>();

  constructor(store: Store, swept: readonly Swept[], part: SweepPart, report: Report) {
    this.#store = store;
    this.#swept = swept;
    this.#part = part;
    this.#report = report;
  }

  /** The snapshot that a batch is of. */
  ownerOf(batch: Batch): Swept {
    return this.#owners.get(batch.slab) as Swept;
  }

  /** The L2 table of a snapshot at an L1 entry; undefined where there is none. */
  table({ l1 }: Swept, index: number): L2Table | undefined {
    if (index >= l1.length) return undefined;
    const offset = offsetOf(l1.hi(index), l1.lo(index));
    return offset === 0 ? undefined : this.#store.l2(offset);
  }

  /** True when the sweep came to its end. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Leased batches of all clusters to be read; `skip` hears of image bytes that need none. */
  async *batches(slabs: SlabPool, skip: (bytes: number) => void): AsyncGenerator<Batch> {
    const { geometry } = this.#store;
    const { from = 0, isOver = () => false } = this.#part;
    const largest = Math.max(0, ...this.#swept.map(({ size }) => geometry.clusters(size)));
    const tables = Math.ceil(largest / geometry.l2Entries);
    for (let i = 0; i < tables; i += 1) {
      const first = ((Math.floor(from * tables) + i) % tables) * geometry.l2Entries;
      for await (const batch of this.#below(first, slabs, skip)) {
        yield batch;
        if (isOver()) return;
      }
    }
    this.#complete = true;
  }

  /** The batches of all snapshots from cluster `first` on, as far as one L2 table goes. */
  async *#below(
    first: number,
    slabs: SlabPool,
    skip: (bytes: number) => void,
  ): AsyncGenerator<Batch> {
    const { geometry } = this.#store;
    let before: View | undefined;
    for (const swept of this.#swept) {
      const end = Math.min(geometry.clusters(swept.size), first + geometry.l2Entries);
      if (end <= first) continue;
      const view = this.#view(swept, first, end);
      const part = view && { swept, first, count: end - first, view, before };
      if (part) yield* this.#ofPart(part, slabs, skip);
      else skip(Math.min(end * geometry.clusterSize, swept.size) - first * geometry.clusterSize);
      before = view ?? before;
    }
  }

  /** What a snapshot says of clusters [first, end); undefined, and reported, when its tables are damaged. */
  #view(swept: Swept, first: number, end: number): View | undefined {
    const { l2Entries, clusterSize } = this.#store.geometry;
    const bytes = Math.min(end * clusterSize, swept.size) - first * clusterSize;
    try {
      const digests = swept.digests && Buffer.alloc((end - first) * DIGEST_BYTES);
      if (digests) swept.digests?.read(first, end - first, digests);
      const table = this.table(swept, first / l2Entries) ?? L2Table.empty(l2Entries);
      return { count: end - first, bytes, table, digests };
    } catch (error) {
      this.#report(swept, first, end - first, problemOf(error), false);
      return undefined;
    }
  }

  async *#ofPart(
    part: Part,
    slabs: SlabPool,
    skip: (bytes: number) => void,
  ): AsyncGenerator<Batch> {
    const { clusterSize } = this.#store.geometry;
    const { swept, first, count } = part;
    const bytesOf = (from: number, to: number): number =>
      Math.min((first + to) * clusterSize, swept.size) - (first + from) * clusterSize;
    let at = 0;
    while (at < count) {
      // Those that read as zeros are checked on the way.
      let next = at;
      while (next < count && !this.#isNew(part, next)) next += 1;
      if (next > at) skip(bytesOf(at, next));
      at = next;
      if (at === count) return;
      const batch = await slabs.lease();
      const most = Math.min(count - at, batch.layout.clusters);
      batch.begin((first + at) * clusterSize, bytesOf(at, at + most));
      batch.unproven = swept.digests === undefined;
      this.#owners.set(batch.slab, swept);
      at += this.#fill(batch, part, at, most);
      yield batch;
    }
  }

  /** Whether a slot's cluster is stored and was not met before. */
  #isNew({ swept, first, view, before }: Part, slot: number): boolean {
    const { table, digests } = view;
    if (before && slot < before.count && table.isSame(slot, before.table)) {
      if (this.#isSameContent(slot, view, before)) return false;
    }
    const kind = table.kind(slot);
    if (kind !== 'unallocated' && kind !== 'zero') return true;
    if (digests && !isZeroDigest(digests, slot * DIGEST_BYTES)) {
      this.#report(swept, first + slot, 1, ZEROED, true);
    }
    return false;
  }

  /** True when `before`, which was looked at, has the digest that is expected in a slot, if any is, of as many bytes. */
  #isSameContent(slot: number, { digests, bytes }: View, before: View): boolean {
    if (!digests || !before.digests) return !digests;
    const end = (slot + 1) * this.#store.geometry.clusterSize;
    return (
      Math.min(end, bytes) === Math.min(end, before.bytes) &&
      sameDigest(digests, slot * DIGEST_BYTES, before.digests, slot * DIGEST_BYTES)
    );
  }

  /** Fills a batch from slot `from` on; returns how many clusters it holds. */
  #fill(batch: Batch, part: Part, from: number, most: number): number {
    const { swept, first, view } = part;
    const locator = new Locator(this.#store, batch);
    let count = 0;
    let live = 0;
    for (; count < most; count += 1) {
      const slot = from + count;
      batch.kinds[count] = Kind.same;
      if (!this.#isNew(part, slot) || !this.#part.isChosen()) continue;
      try {
        if (!locator.enter(count, view.table, slot)) break;
        live += 1;
      } catch (error) {
        this.#report(swept, first + slot, 1, problemOf(error), true);
      }
    }
    if (count < most) batch.shorten(count);
    batch.live = live;
    // Those that are not read count as right: what is left for verify is seen without a hop.
    for (const into of [batch.digests, batch.known]) {
      view.digests?.copy(into, 0, from * DIGEST_BYTES, (from + count) * DIGEST_BYTES);
    }
    return count;
  }
}

/** What a damaged table has wrong; anything but a Fault is thrown on. */
const problemOf = (error: unknown): string => {
  if (!(error instanceof Fault)) throw error;
  return String(error.details.problem ?? error.message);
};
