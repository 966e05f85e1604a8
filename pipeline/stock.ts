// Memory for slabs that goes from one run to the next. Fresh memory is dear: the system clears each page when it is
// first touched, and what a run leaves is free only when every thread has collected its garbage.

import { allocatePages, type SharedBytes } from '../disk/index.js';

const capacityOf = ({ memory, start }: SharedBytes): number => memory.byteLength - start;

export class SlabStock {
  /** Most bytes that are kept, those in use included. */
  readonly #limit: number;
  /** What nobody uses, the smallest first. */
  readonly #kept: SharedBytes[] = [];
  /** What has been handed out. */
  readonly #used = new Set<SharedBytes>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Memory for a slab of so many bytes: with whatever was last in it. */
  take(bytes: number): SharedBytes {
    const at = this.#kept.findIndex((memory) => capacityOf(memory) >= bytes);
    const known = at < 0 ? undefined : this.#kept.splice(at, 1)[0];
    const memory = known ?? this.#allocate(bytes);
    this.#used.add(memory);
    return memory;
  }

  #allocate(bytes: number): SharedBytes {
    // What is too small for this slab makes room for it.
    while (this.#bytes + bytes > this.#limit && this.#kept.length > 0) {
      this.#bytes -= capacityOf(this.#kept.shift() as SharedBytes);
    }
    const memory = allocatePages(bytes);
    this.#bytes += capacityOf(memory);
    return memory;
  }

  /** Takes back what a run had; `sound`: nobody can have kept a view of it. */
  give(memories: readonly SharedBytes[], sound: boolean): void {
    for (const memory of memories) {
      if (!this.#used.delete(memory)) continue;
      if (sound && this.#bytes <= this.#limit) this.#kept.push(memory);
      else this.#bytes -= capacityOf(memory);
    }
    this.#kept.sort((a, b) => capacityOf(a) - capacityOf(b));
  }
}
