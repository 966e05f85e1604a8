// Ranges of image bytes, gathered in ascending order: neighbours become one, and there is a limit to how many
// are kept, since an image of a tebibyte may have millions.

import fs from 'node:fs';
import { fault, reasonOf } from '../disk/index.js';

/** Image bytes [start, start + length). */
export interface Range {
  readonly start: number;
  readonly length: number;
}

const MAX_RANGES = 100_000;

export class Ranges {
  readonly kept: Range[] = [];
  readonly #most: number;
  #bytes = 0;
  #count = 0;
  #last: Range | undefined;

  /** Keeps at most so many. */
  constructor(most = MAX_RANGES) {
    this.#most = most;
  }

  /** Adds a range that begins at or after the end of the last one. */
  add(start: number, length: number): void {
    if (length === 0) return;
    this.#bytes += length;
    const last = this.#last;
    const adjoins = last !== undefined && last.start + last.length === start;
    this.#last = adjoins ? { start: last.start, length: last.length + length } : { start, length };
    if (!adjoins) this.#count += 1;
    if (this.#count <= this.#most) this.kept[this.#count - 1] = this.#last;
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

/** Gathers ranges in any order. */
export class RangeBag {
  readonly #found: Array<{ start: number; end: number }> = [];

  /** Adds image bytes [start, end). */
  add(start: number, end: number): void {
    const last = this.#found.at(-1);
    if (last?.end === start) last.end = end;
    else if (end > start) this.#found.push({ start, end });
  }

  /** All of them in ascending order, neighbours joined; `most` are kept. */
  sorted(most = MAX_RANGES): Ranges {
    const ranges = new Ranges(most);
    for (const { start, end } of this.#found.toSorted((a, b) => a.start - b.start)) {
      ranges.add(start, end - start);
    }
    return ranges;
  }
}

/** Writes ranges to a file, one a line, first byte and length in decimal, below a line that says of what. */
export const writeRanges = (path: string, what: string, ranges: readonly Range[]): void => {
  const lines = ranges.map(({ start, length }) => `${start} ${length}\n`);
  try {
    fs.writeFileSync(path, `# ${what}: first byte, length\n${lines.join('')}`);
  } catch (error) {
    throw fault('output-unsuitable', { path, reason: reasonOf(error) }, error);
  }
};
