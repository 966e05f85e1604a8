// Brings the refcounts of a store from one generation to the next: up what the new roots lead to, down what the old ones
// led to.

import type { HostOffset } from '../disk/index.js';
import { proveRefcounts } from './check.js';
import type { Refcounts } from './refcounts.js';
import { Roots, rootsOf, shownSnapshot } from './roots.js';
import type { Snapshot } from './snapshot.js';
import type { Store } from './store.js';
import type { Table } from './table.js';

/** What a generation consists of, beside what its L1 tables lead to. */
export interface Generation {
  /** Its snapshots; those with a table have a new one. */
  readonly placed: readonly (Snapshot & { readonly l1?: Table })[];
  readonly active: Table;
  /** Host byte offsets. */
  readonly activeOffset: number;
  readonly snapshotsOffset: number;
  /** Length of the snapshot table in bytes. */
  readonly tableBytes: number;
}

export class Recount {
  readonly #store: Store;
  readonly #roots: Roots;
  readonly #refcounts: Refcounts;
  /** True when the refcounts were held against all tables. */
  readonly #proven: boolean;
  #dropped: ReadonlySet<Snapshot> = new Set();
  /** The published active L1 table, unless it is empty, and the snapshot that it shows. */
  #active: Table | undefined;
  #shown: Snapshot | undefined;

  constructor(store: Store, roots: Roots, refcounts: Refcounts, proven: boolean) {
    this.#store = store;
    this.#roots = roots;
    this.#refcounts = refcounts;
    this.#proven = proven;
  }

  /** Snapshots that are dropped, and whose clusters stay taken: their tables had changed. */
  get leaked(): readonly Snapshot[] {
    return [...this.#dropped].filter((snapshot) => !this.#isToCount(snapshot));
  }

  /**
   * Looks, before anything is written, at what is to be dropped: all snapshots but `kept`, and the active state. Throws a
   * Fault where it cannot be dropped.
   */
  plan(kept: ReadonlySet<Snapshot>): void {
    const active = this.#store.activeL1();
    if (!active.isEmpty()) {
      this.#active = active;
      this.#shown = shownSnapshot(this.#store, active);
    }
    const dropped = this.#store.snapshots.filter((snapshot) => !kept.has(snapshot));
    this.#dropped = new Set(dropped);
    const isNoted = (snapshot: Snapshot | undefined): boolean =>
      snapshot !== undefined && Roots.isNoted(snapshot);
    const noted = dropped.every(isNoted) && (!this.#active || isNoted(this.#shown));
    // Where nobody has noted what the tables were, all of them must agree with the refcounts.
    if (!noted && !this.#proven) proveRefcounts(this.#store);
  }

  /** Counts from what is published to the generation that follows. */
  count(next: Generation): void {
    const given = this.#given(next);
    this.#countTrees(next, given);
    this.#countTables(next, given);
  }

  /**
   * Whether what the tables of a snapshot lead to may be counted down. Tables that have changed could take a reference
   * from a cluster of another snapshot: what they lead to stays taken.
   */
  #isToCount(snapshot: Snapshot | undefined): boolean {
    return !snapshot || this.#roots.stateOf(snapshot) !== 'changed';
  }

  /** Brings the refcounts of L2 tables and everything below them from the old roots to the new. */
  #countTrees({ placed, active }: Generation, given: readonly Snapshot[]): void {
    const deltas = new Map<HostOffset, number>();
    const root = (l1: Table, sign: 1 | -1): void => {
      for (const [, offset] of rootsOf(l1)) deltas.set(offset, (deltas.get(offset) ?? 0) + sign);
    };
    root(active, 1);
    if (this.#active && this.#isToCount(this.#shown)) root(this.#active, -1);
    for (const { l1 } of placed) if (l1) root(l1, 1);
    for (const snapshot of given) {
      // What has only moved leads where it did: its references come and go, whatever they are.
      const isMoved = !this.#dropped.has(snapshot);
      if (isMoved || this.#isToCount(snapshot)) root(this.#store.l1(snapshot.entry), -1);
    }
    // Additions first, so that no count passes through zero on its way.
    for (const [offset, delta] of deltas) if (delta > 0) this.#bumpL2(offset, delta);
    for (const [offset, delta] of deltas) if (delta < 0) this.#bumpL2(offset, delta);
  }

  /** The snapshots that give up their L1 table: they are dropped, or get another one. */
  #given({ placed }: Generation): Snapshot[] {
    const kept = new Set(placed.map(({ entry }) => entry.l1Offset));
    return this.#store.snapshots.filter(({ entry }) => !kept.has(entry.l1Offset));
  }

  #bumpL2(offset: HostOffset, delta: number): void {
    const { geometry } = this.#store;
    this.#refcounts.bump(geometry.hostCluster(offset), delta);
    this.#refcounts.bumpEntries(this.#roots.peek(offset), delta);
  }

  /** Counts the tables themselves: L1 tables and the snapshot table, new and old. */
  #countTables(
    { placed, active, activeOffset, snapshotsOffset, tableBytes }: Generation,
    given: readonly Snapshot[],
  ): void {
    const { header, snapshotTableBytes } = this.#store;
    const refcounts = this.#refcounts;
    refcounts.bumpBytes(activeOffset, active.byteLength, 1);
    refcounts.bumpBytes(snapshotsOffset, tableBytes, 1);
    for (const { entry, l1 } of placed)
      if (l1) refcounts.bumpBytes(entry.l1Offset, l1.byteLength, 1);
    for (const snapshot of given) {
      const { l1Offset, l1Entries } = snapshot.entry;
      if (this.#isToCount(snapshot)) refcounts.bumpBytes(l1Offset, l1Entries * 8, -1);
    }
    refcounts.bumpBytes(header.l1Offset, header.l1Entries * 8, -1);
    refcounts.bumpBytes(header.snapshotsOffset, snapshotTableBytes, -1);
  }
}
