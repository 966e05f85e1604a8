// Builds the tables of a new snapshot on top of its parent's, in ascending order. What is not touched
// stays the parent's table, shared; a table is copied only when one of its entries really changes.

import { fault, type HostOffset } from '../disk/index.js';
import type { Store } from './store.js';
import { Table } from './table.js';
import { COPIED_HI, highOf, lowOf, offsetOf } from './words.js';

/** Where a tree writer gets clusters and puts tables. */
export interface TableSink {
  /** Takes a free cluster, writes `raw` (one cluster) there, returns its host byte offset. */
  writeCluster(raw: Buffer): HostOffset;
}

/** Clears bit 63 of every entry; true when one was set. */
export const clearCopied = ({ halves }: Table): boolean => {
  let all = 0;
  for (let i = 1; i < halves.length; i += 2) all |= halves[i] as number;
  if ((all & COPIED_HI) === 0) return false;
  for (let i = 1; i < halves.length; i += 2) halves[i] = (halves[i] as number) & ~COPIED_HI;
  return true;
};

/** Writes the L2 tables below one part of a new L1 table. */
export class TreeWriter {
  readonly #store: Store;
  readonly #sink: TableSink;
  readonly #l1: Table;
  readonly #firstL1: number;
  #open: { index: number; table: Table; changed: boolean } | undefined;

  /**
   * `l1` begins as the parent's entries (or empty) and is changed in place. Cluster 0 of this tree
   * is the first that L1 entry `firstL1` describes.
   */
  constructor(store: Store, sink: TableSink, l1: Table, firstL1: number) {
    this.#store = store;
    this.#sink = sink;
    this.#l1 = l1;
    this.#firstL1 = firstL1;
  }

  #tableFor(index: number): { index: number; table: Table; changed: boolean } {
    if (this.#open?.index === index) return this.#open;
    if (this.#open && index < this.#open.index) {
      throw fault('store-damaged', {
        path: this.#store.path,
        problem: 'tables were written out of order',
      });
    }
    this.finish();
    const offset = offsetOf(this.#l1.hi(index), this.#l1.lo(index));
    const table =
      offset === 0 ? Table.empty(this.#store.geometry.l2Entries) : this.#store.l2(offset);
    this.#open = { index, table, changed: false };
    return this.#open;
  }

  /** Sets the entry of one cluster; clusters come in ascending order. */
  set(cluster: number, hi: number, lo: number): void {
    const { l2Entries } = this.#store.geometry;
    const open = this.#tableFor(this.#firstL1 + Math.floor(cluster / l2Entries));
    const slot = cluster % l2Entries;
    if (open.table.hi(slot) === hi && open.table.lo(slot) === lo) return;
    open.table.set(slot, hi, lo);
    open.changed = true;
  }

  /** Makes clusters [from, to) unallocated: they read as zeros. */
  clear(from: number, to: number): void {
    const { l2Entries } = this.#store.geometry;
    let at = from;
    while (at < to) {
      const index = this.#firstL1 + Math.floor(at / l2Entries);
      const tableStart = at - (at % l2Entries);
      const stop = Math.min(to, tableStart + l2Entries);
      if (!this.#isAbsent(index)) {
        if (at === tableStart && stop === tableStart + l2Entries) this.#drop(index);
        else {
          const open = this.#tableFor(index);
          if (open.table.clear(at - tableStart, stop - tableStart)) open.changed = true;
        }
      }
      at = stop;
    }
  }

  #isAbsent(index: number): boolean {
    return this.#open?.index !== index && this.#l1.isClear(index);
  }

  #drop(index: number): void {
    if (this.#open && this.#open.index !== index) this.finish();
    this.#open = undefined;
    this.#l1.set(index, 0, 0);
  }

  /** Writes the table at hand, if it changed. */
  finish(): void {
    const open = this.#open;
    this.#open = undefined;
    if (!open?.changed) return;
    if (open.table.isEmpty()) {
      this.#l1.set(open.index, 0, 0);
      return;
    }
    clearCopied(open.table);
    const offset = this.#sink.writeCluster(open.table.encode());
    this.#l1.set(open.index, highOf(offset), lowOf(offset));
  }
}
