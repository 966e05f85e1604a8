// Walks the tables of several snapshots side by side and fills batches with every stored cluster once: a
// cluster of one snapshot that the snapshot before it has too, with the same entry and the same digest, is
// not looked at again. Snapshots come oldest first, so what they share is found this way, however many of
// them share it.

import { DIGEST_BYTES, Fault, isZeroDigest } from '../disk/index.js';
import { type Batch, Kind, type SlabPool } from '../pipeline/index.js';
import {
  type DigestReader,
  decodePacked,
  kindOf,
  offsetOf,
  type Snapshot,
  type Store,
  Table,
} from '../qcow2/index.js';
import { PayloadSpace } from './map.js';

/** One of the snapshots. */
export interface Swept {
  readonly snapshot: Snapshot;
  readonly l1: Table;
  readonly digests: DigestReader;
  /** Size of its image in bytes. */
  readonly size: number;
}

/** What one snapshot says of a range of clusters. */
interface View {
  readonly table: Table;
  /** 16 bytes per cluster. */
  readonly digests: Buffer;
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

/** Damage that needs no data to be seen. */
export type Report = (
  swept: Swept,
  first: number,
  count: number,
  problem: string,
  entry: readonly [hi: number, lo: number],
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

export class Sweep {
  readonly #store: Store;
  readonly #swept: readonly Swept[];
  readonly #report: Report;
  readonly #part: SweepPart;
  readonly #fileBytes: number;
  #complete = false;
  /** Which snapshot each batch on its way is of, by its slab. */
  readonly #owners = new Map<number, Swept>();

  constructor(store: Store, swept: readonly Swept[], part: SweepPart, report: Report) {
    this.#store = store;
    this.#swept = swept;
    this.#part = part;
    this.#fileBytes = store.file.size();
    this.#report = report;
  }

  /** The snapshot that a batch is of. */
  ownerOf(batch: Batch): Swept {
    return this.#owners.get(batch.slab) as Swept;
  }

  /** The L2 table of a snapshot at an L1 entry; undefined where there is none. */
  table({ l1 }: Swept, index: number): Table | undefined {
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
    const { l2Entries } = this.#store.geometry;
    try {
      const digests = Buffer.alloc((end - first) * DIGEST_BYTES);
      swept.digests.read(first, end - first, digests);
      const table = this.table(swept, first / l2Entries) ?? Table.empty(l2Entries);
      return { table, digests };
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#report(
        swept,
        first,
        end - first,
        String(error.details.problem ?? error.message),
        [0, 0],
      );
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
      while (next < count && this.#kindAt(part, next) === Kind.same) next += 1;
      if (next > at) skip(bytesOf(at, next));
      at = next;
      if (at === count) return;
      const batch = await slabs.lease();
      const most = Math.min(count - at, batch.layout.clusters);
      batch.begin((first + at) * clusterSize, bytesOf(at, at + most));
      this.#owners.set(batch.slab, swept);
      at += this.#fill(batch, part, at, most);
      yield batch;
    }
  }

  /** What there is to do for one slot: `same` for nothing. */
  #kindAt({ swept, first, view, before }: Part, slot: number): number {
    const { table, digests } = view;
    const [hi, lo] = [table.hi(slot), table.lo(slot)];
    const at = slot * DIGEST_BYTES;
    if (
      before &&
      before.table.hi(slot) === hi &&
      before.table.lo(slot) === lo &&
      at < before.digests.length &&
      digests.compare(before.digests, at, at + DIGEST_BYTES, at, at + DIGEST_BYTES) === 0
    ) {
      return Kind.same;
    }
    const kind = kindOf(hi, lo);
    if (kind === 'packed') return Kind.packed;
    if (kind === 'plain') return Kind.plain;
    if (!isZeroDigest(digests, at)) {
      this.#report(swept, first + slot, 1, 'it reads as zeros, and did not when it was taken', [
        hi,
        lo,
      ]);
    }
    return Kind.same;
  }

  /** Why nothing that was stored can be at a host offset; undefined when it can. */
  #misplaced(kind: number, offset: number): string | undefined {
    if (offset >= this.#fileBytes) return 'its place is outside the file';
    const isCluster = kind !== Kind.plain || this.#store.geometry.isAligned(offset);
    return isCluster ? undefined : 'its place is not on a cluster boundary';
  }

  /** Fills a batch from slot `from` on; returns how many clusters it holds. */
  #fill(batch: Batch, part: Part, from: number, most: number): number {
    const { geometry } = this.#store;
    const { swept, first, view } = part;
    const payloads = new PayloadSpace(batch);
    let count = 0;
    let live = 0;
    for (; count < most; count += 1) {
      const slot = from + count;
      const kind = this.#kindAt(part, slot);
      batch.kinds[count] = kind !== Kind.same && this.#part.isChosen() ? kind : Kind.same;
      if (batch.kinds[count] === Kind.same) continue;
      live += 1;
      const [hi, lo] = [view.table.hi(slot), view.table.lo(slot)];
      const { offset, length } =
        kind === Kind.plain
          ? { offset: offsetOf(hi, lo), length: 0 }
          : decodePacked(hi, lo, geometry.clusterBits);
      const problem = this.#misplaced(kind, offset);
      if (problem) {
        batch.kinds[count] = Kind.same;
        live -= 1;
        this.#report(swept, first + slot, 1, problem, [hi, lo]);
        continue;
      }
      batch.places[count] = offset;
      if (kind === Kind.plain) continue;
      const start = payloads.place(offset, length);
      if (start === undefined) {
        live -= 1;
        break;
      }
      batch.starts[count] = start;
      batch.lengths[count] = length;
    }
    if (count < most) batch.shorten(count);
    batch.live = live;
    // Those that are not read count as right: what is left for verify is seen without a hop.
    view.digests.copy(batch.digests, 0, from * DIGEST_BYTES, (from + count) * DIGEST_BYTES);
    view.digests.copy(batch.known, 0, from * DIGEST_BYTES, (from + count) * DIGEST_BYTES);
    return count;
  }
}
