// Places for those who are at work: so many takes run at once, the others wait in line.

type Start = () => void;

export class Slots {
  #free: number;
  /** Who has been promised to go first, and all others; each in the order they came. */
  readonly #first: Start[] = [];
  readonly #others: Start[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Does the work when a place is free; `first`: before those who wait without. */
  async run<T>(work: () => Promise<T>, first = false): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((start) => (first ? this.#first : this.#others).push(start));
    try {
      return await work();
    } finally {
      const next = this.#first.shift() ?? this.#others.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
