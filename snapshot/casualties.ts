// What a verification finds damaged: gathers it, and finds out whom else it hurts.

import type { Store } from '../qcow2/index.js';
import type { Report, Sweep, Swept } from './sweep.js';

/** A piece of some snapshots that cannot be brought back as it was taken. */
export interface Damage {
  /** Image bytes [start, start + length). */
  readonly start: number;
  readonly length: number;
  readonly problem: string;
  /** Tags of the snapshots that it hurts. */
  readonly snapshots: readonly string[];
}

/** As many pieces are kept; damaged clusters are counted on. */
const MAX_DAMAGE = 1000;

export class Casualties {
  readonly #store: Store;
  readonly #swept: readonly Swept[];
  readonly found: Damage[] = [];
  clusters = 0;

  constructor(store: Store, swept: readonly Swept[]) {
    this.#store = store;
    this.#swept = swept;
  }

  /** Tags of the snapshots whose entry for a cluster is the owner's. */
  #sharing(sweep: Sweep, owner: Swept, cluster: number): string[] {
    const { l2Entries, clusterSize } = this.#store.geometry;
    const [index, slot] = [Math.floor(cluster / l2Entries), cluster % l2Entries];
    const own = sweep.table(owner, index);
    const endOf = ({ size }: Swept): number => Math.min((cluster + 1) * clusterSize, size);
    return this.#swept
      .filter((other) => {
        if (other === owner) return true;
        if (!own || own.isClear(slot) || cluster * clusterSize >= other.size) return false;
        // What its digest says of another length is looked at by itself.
        if (other.digests && endOf(other) !== endOf(owner)) return false;
        try {
          const table = sweep.table(other, index);
          return table !== undefined && own.isSame(slot, table);
        } catch {
          return false; // Its table is damaged itself, which is reported as such.
        }
      })
      .map(({ snapshot }) => snapshot.entry.tag);
  }

  add(sweep: Sweep, ...[owner, first, count, problem, spreads]: Parameters<Report>): void {
    this.clusters += count;
    if (this.found.length >= MAX_DAMAGE) return;
    const { clusterSize } = this.#store.geometry;
    const start = first * clusterSize;
    const length = Math.min(count * clusterSize, owner.size - start);
    const snapshots = spreads ? this.#sharing(sweep, owner, first) : [owner.snapshot.entry.tag];
    const last = this.found.at(-1);
    if (
      last?.problem === problem &&
      last.start + last.length === start &&
      last.snapshots.join('\n') === snapshots.join('\n')
    ) {
      this.found[this.found.length - 1] = { ...last, length: last.length + length };
    } else this.found.push({ start, length, problem, snapshots });
  }
}
