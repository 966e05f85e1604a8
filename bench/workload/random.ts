// Numbers that look random and are the same for the same seed on every machine.

import { randomFrom } from '../../disk/index.js';

const TWO_32 = 2 ** 32;

export class Random {
  readonly #next: () => number;

  /** `seed`: a whole number below 2^32. */
  constructor(seed: number) {
    this.#next = randomFrom(seed);
  }

  /** A whole number below 2^32. */
  word(): number {
    return this.#next() * TWO_32;
  }

  /** A number in [0, 1). */
  share(): number {
    return this.#next();
  }

  /** A whole number from `least` to `most`, both possible. */
  between(least: number, most: number): number {
    return least + Math.floor(this.#next() * (most - least + 1));
  }

  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length - 1)] as T;
  }

  /** Fills whole words of `into`; up to three bytes at its end stay as they are. */
  fill(into: Buffer): void {
    for (let at = 0; at + 4 <= into.length; at += 4) into.writeUInt32LE(this.word(), at);
  }

  /** Brings a list into an order of its own, in place. */
  shuffle<T>(list: T[]): void {
    for (let last = list.length - 1; last > 0; last -= 1) {
      const other = this.between(0, last);
      [list[last], list[other]] = [list[other] as T, list[last] as T];
    }
  }
}
