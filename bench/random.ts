// Numbers that look random and are the same for the same seed on every machine.

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number below 2^32 (mulberry32, Tommy Ettinger). */
  word(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A whole number from `least` to `most`, both possible. */
  between(least: number, most: number): number {
    return least + Math.floor((this.word() / 2 ** 32) * (most - least + 1));
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
