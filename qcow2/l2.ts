// L2 tables as they are read. Entry i has two words here, of which the first is as in words.ts; with
// extended entries (specification, "Extended L2 Entries") the second tells of the cluster's 32 subclusters:
//
//    63 ........................ 32   31 ......................... 0
//   ┌──────────────────────────────┬───────────────────────────────┐
//   │ subcluster x reads as zeros  │ subcluster x is stored        │    x = 0 to 31, lowest bit first
//   └──────────────────────────────┴───────────────────────────────┘
//
// Without a backing file, what is neither reads as zeros too.

import { Table } from './table.js';
import { COPIED_HI, type EntryKind, kindOf, ZERO_LO } from './words.js';

/** The bits of a cluster that is stored whole. */
const ALL_STORED = 0xffff_ffff;

/**
 * What an entry of either sort says. `partial`: some subclusters are stored in a plain cluster, the others
 * read as zeros. `broken`: its two words contradict each other.
 */
export type L2Kind = EntryKind | 'partial' | 'broken';

/** What the two words of an extended entry say. */
export const extendedKind = (hi: number, lo: number, zeros: number, stored: number): L2Kind => {
  // Bit 0 has no meaning here, and compressed clusters have no subclusters.
  const kind = kindOf(hi, lo & ~ZERO_LO);
  if (kind === 'packed') return kind;
  if ((stored & zeros) !== 0) return 'broken';
  if (kind === 'unallocated') return stored === 0 ? kind : 'broken';
  if (stored === 0) return 'zero';
  return stored === ALL_STORED ? 'plain' : 'partial';
};

export class L2Table extends Table {
  /** The second words, where there are any. */
  readonly #maps: Table | undefined;

  private constructor(halves: Uint32Array, maps: Table | undefined) {
    super(halves);
    this.#maps = maps;
  }

  /** A table of `entries` unallocated clusters. */
  static override empty(entries: number): L2Table {
    return new L2Table(new Uint32Array(entries * 2), undefined);
  }

  /** Decodes a table of entries of one word. */
  static override decode(raw: Uint8Array): L2Table {
    return new L2Table(Table.halvesOf(raw), undefined);
  }

  /** Decodes a table of extended entries. */
  static decodeExtended(raw: Uint8Array): L2Table {
    const words = Table.decode(raw);
    const maps = Table.empty(words.length / 2);
    const table = new L2Table(new Uint32Array(words.length), maps);
    for (let i = 0; i < maps.length; i += 1) {
      table.set(i, words.hi(2 * i), words.lo(2 * i));
      maps.set(i, words.hi(2 * i + 1), words.lo(2 * i + 1));
    }
    return table;
  }

  kind(index: number): L2Kind {
    const maps = this.#maps;
    if (!maps) return kindOf(this.hi(index), this.lo(index));
    return extendedKind(this.hi(index), this.lo(index), maps.hi(index), maps.lo(index));
  }

  /** Which subclusters of a plain or partial cluster are stored, bit x for subcluster x. */
  stored(index: number): number {
    return this.#maps ? this.#maps.lo(index) : ALL_STORED;
  }

  /** True when the same entry of another table leads to the same bytes, whether or not COPIED is set. */
  isSame(index: number, other: L2Table): boolean {
    return (
      this.lo(index) === other.lo(index) &&
      ((this.hi(index) ^ other.hi(index)) & ~COPIED_HI) === 0 &&
      (!this.#maps || this.#isSameMap(index, other))
    );
  }

  #isSameMap(index: number, other: L2Table): boolean {
    const kind = this.kind(index);
    if (kind !== other.kind(index)) return false;
    return kind !== 'partial' || this.stored(index) === other.stored(index);
  }
}
