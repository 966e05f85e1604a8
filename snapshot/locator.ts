// Enters in a batch where stored clusters lie, as their L2 entries say, and lays their payloads out in its slab.

import { fault } from '../disk/index.js';
import { type Batch, Kind } from '../pipeline/index.js';
import { decodePacked, type L2Table, offsetOf, type Store } from '../qcow2/index.js';

/** Lays payloads out in a slab so that neighbours in the store are neighbours there. */
class PayloadSpace {
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

/** For one batch, whose clusters are entered in ascending order. */
export class Locator {
  readonly #store: Store;
  readonly #batch: Batch;
  readonly #payloads: PayloadSpace;

  constructor(store: Store, batch: Batch) {
    this.#store = store;
    this.#batch = batch;
    this.#payloads = new PayloadSpace(batch);
  }

  /**
   * Enters cluster `i` of the batch, of which the table's entry `slot` says that it is stored. False when its
   * payload does not fit any more. Throws a Fault when nothing can be stored where the entry leads.
   */
  enter(i: number, table: L2Table, slot: number): boolean {
    const batch = this.#batch;
    const kind = table.kind(slot);
    const [hi, lo] = [table.hi(slot), table.lo(slot)];
    if (kind === 'packed') return this.#enterPacked(i, hi, lo);
    const offset = offsetOf(hi, lo);
    this.#refuse(this.#store.flawOf(kind, offset));
    batch.kinds[i] = kind === 'partial' ? Kind.partial : Kind.plain;
    batch.places[i] = offset;
    if (kind === 'partial') batch.parts[i] = table.stored(slot);
    return true;
  }

  #enterPacked(i: number, hi: number, lo: number): boolean {
    const batch = this.#batch;
    const { offset, length } = decodePacked(hi, lo, this.#store.geometry.clusterBits);
    this.#refuse(this.#store.flawOf('packed', offset));
    const start = this.#payloads.place(offset, length);
    if (start === undefined) return false;
    batch.kinds[i] = Kind.packed;
    batch.places[i] = offset;
    batch.starts[i] = start;
    batch.lengths[i] = length;
    return true;
  }

  #refuse(problem: string | undefined): void {
    if (problem !== undefined) throw fault('store-damaged', { path: this.#store.path, problem });
  }
}
