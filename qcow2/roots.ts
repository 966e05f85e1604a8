// Whether what lies below an L1 table is what its snapshot was made with. Whoever drops a snapshot counts down all that
// its tables lead to, so an entry that has changed since would take a reference from a cluster of another snapshot.

import { Fault, type HostOffset, shortHash } from '../disk/index.js';
import type { Snapshot } from './snapshot.js';
import type { Store } from './store.js';
import { Table } from './table.js';
import { clearCopied } from './tree.js';
import { highOf, lowOf, offsetOf } from './words.js';

/** What the digest of a tree has of each L2 table: L1 entry, where the table is, and the digest of its words. */
const ROW_BYTES = 32;
/** Added to the number of an L1 entry of the digests, counted from their first: it stays when they move to later entries. */
const DIGESTS_HI = 1;
/** Digests of tables that are kept: snapshots share most of theirs. Some 50 MiB at most. */
const MAX_KEPT = 2 ** 18;

/** `unproven`: nobody has noted what the tables were; another program made the snapshot, or an early version of this. */
export type RootState = 'sound' | 'changed' | 'unproven';

/** An L2 table without COPIED bits, in memory that the next look at one overwrites. */
export interface SeenTable {
  readonly table: Table;
  /** True when the table in the file has COPIED bits. */
  readonly copied: boolean;
  /** Of its words, as they are on disk without these bits. */
  readonly digest: Uint8Array;
}

/** The entries of an L1 table that lead to L2 tables: their numbers, and host byte offsets. */
export function* rootsOf(l1: Table): Generator<readonly [index: number, offset: HostOffset]> {
  for (let i = 0; i < l1.length; i += 1) {
    const offset = offsetOf(l1.hi(i), l1.lo(i));
    if (offset !== 0) yield [i, offset];
  }
}

/** The latest snapshot that the active L1 table shows; undefined when it is none of them. */
export const shownSnapshot = (store: Store, active: Table): Snapshot | undefined => {
  const { geometry, header } = store;
  // Past the disk lies vmstate, which "qemu-img snapshot -a" takes over as it is.
  const disk = Math.min(active.length, geometry.l1Entries(header.diskSize));
  return store.snapshots.toReversed().find(({ entry }) => {
    const l1 = store.l1(entry);
    const own = geometry.l1Entries(entry.diskSize ?? header.diskSize);
    for (let i = 0; i < disk; i += 1) {
      const theirs = i < own ? offsetOf(l1.hi(i), l1.lo(i)) : 0;
      if (offsetOf(active.hi(i), active.lo(i)) !== theirs) return false;
    }
    return true;
  });
};

/** Looks at the L2 tables of a store on behalf of one change of it. */
export class Roots {
  readonly #store: Store;
  readonly #scratch: Buffer;
  /** Digests of the words of L2 tables, by host byte offset. */
  readonly #digests = new Map<HostOffset, Uint8Array>();
  readonly #states = new Map<Snapshot, RootState>();

  constructor(store: Store) {
    this.#store = store;
    this.#scratch = Buffer.alloc(store.geometry.clusterSize);
  }

  /** The words of the L2 table at a host byte offset, in memory that the next look at one overwrites. */
  peek(offset: HostOffset): Table {
    this.#store.readL2(this.#scratch, offset);
    return Table.over(this.#scratch);
  }

  /** Reads the L2 table at a host byte offset. */
  look(offset: HostOffset): SeenTable {
    this.#store.readL2(this.#scratch, offset);
    const known = this.#digests.get(offset);
    const raw = known ?? shortHash(this.#scratch);
    const table = Table.over(this.#scratch);
    const copied = clearCopied(table);
    const digest = copied && !known ? shortHash(table.encode()) : raw;
    if (this.#digests.size < MAX_KEPT) this.#digests.set(offset, digest);
    return { table, copied, digest };
  }

  /** The digest, in hexadecimal, of all that an L1 table leads to; the digests of its snapshot begin at `digestL1`. */
  digestOf(l1: Table, digestL1: number): string {
    const raw = Buffer.alloc(l1.length * ROW_BYTES);
    const words = new DataView(raw.buffer, raw.byteOffset, raw.length);
    let end = 0;
    for (const [index, offset] of rootsOf(l1)) {
      const inDisk = index < digestL1;
      words.setUint32(end, inDisk ? 0 : DIGESTS_HI);
      words.setUint32(end + 4, inDisk ? index : index - digestL1);
      words.setUint32(end + 8, highOf(offset));
      words.setUint32(end + 12, lowOf(offset));
      raw.set(this.#digests.get(offset) ?? this.look(offset).digest, end + 16);
      end += ROW_BYTES;
    }
    return Buffer.from(shortHash(raw.subarray(0, end))).toString('hex');
  }

  /** Whether anybody has noted what the tables of a snapshot were; none is read for that. */
  static isNoted({ record }: Snapshot): boolean {
    return record?.tables !== undefined;
  }

  /** What has become of the tables of a published snapshot since it was made. */
  stateOf(snapshot: Snapshot): RootState {
    let state = this.#states.get(snapshot);
    if (!state) {
      state = this.#judge(snapshot);
      this.#states.set(snapshot, state);
    }
    return state;
  }

  #judge({ entry, record }: Snapshot): RootState {
    if (record?.tables === undefined) return 'unproven';
    try {
      const found = this.digestOf(this.#store.l1(entry), record.digestL1);
      return found === record.tables ? 'sound' : 'changed';
    } catch (error) {
      // It leads nowhere, or cannot be read.
      if (error instanceof Fault) return 'changed';
      throw error;
    }
  }
}
