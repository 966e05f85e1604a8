// Ranges of image bytes, gathered in ascending order: neighbours become one, and there is a limit to how many
// are kept, since an image of a tebibyte may have millions.

/** Image bytes [start, start + length). */
export interface Range {
  readonly start: number;
  readonly length: number;
}

const MAX_RANGES = 100_000;

export class Ranges {
  readonly kept: Range[] = [];
  #bytes = 0;
  #count = 0;
  #last: Range | undefined;

  /** Adds a range that begins at or after the end of the last one. */
  add(start: number, length: number): void {
    if (length === 0) return;
    this.#bytes += length;
    const last = this.#last;
    const adjoins = last !== undefined && last.start + last.length === start;
    this.#last = adjoins ? { start: last.start, length: last.length + length } : { start, length };
    if (!adjoins) this.#count += 1;
    if (this.#count <= MAX_RANGES) this.kept[this.#count - 1] = this.#last;
  }

  /** Bytes in all of them. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many there are; only the first of them may be kept. */
  get count(): number {
    return this.#count;
  }
}
