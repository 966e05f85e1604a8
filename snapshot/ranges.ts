// Ranges of image bytes, gathered in ascending order: neighbours become one, and there is a limit to how many
// are kept, since an image of a tebibyte may have millions.

import fs from 'node:fs';
import { Fault, fault, reasonOf } from '../disk/index.js';
import { givePartItsName, partOf } from './part.js';

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

/** How a list begins. */
const LIST_HEAD = '# snapshot ';

/** The first bytes of a regular file; nothing of what is something else. */
const headOf = (path: string): string => {
  const head = Buffer.alloc(LIST_HEAD.length);
  try {
    if (!fs.lstatSync(path).isFile()) return '';
    const fd = fs.openSync(path, 'r');
    fs.readSync(fd, head);
    fs.closeSync(fd);
  } catch (error) {
    throw fault('output-unsuitable', { path, reason: reasonOf(error) }, error);
  }
  return head.toString();
};

/** Refuses when `path` is something else than a list of ranges, or nothing: it would be replaced by one. */
export const checkRangesPath = (path: string): void => {
  if (!fs.lstatSync(path, { throwIfNoEntry: false }) || headOf(path) === LIST_HEAD) return;
  throw fault('output-unsuitable', { path, reason: 'it is there already, and no list of damage' });
};

/**
 * Writes ranges of a snapshot to a file, one a line, first byte and length in decimal, below a line that says of which.
 * What is there is replaced when the list is whole.
 */
export const writeRanges = (path: string, what: string, ranges: readonly Range[]): void => {
  const lines = ranges.map(({ start, length }) => `${start} ${length}\n`);
  const part = partOf(path);
  try {
    fs.writeFileSync(part, `${LIST_HEAD}${what}: first byte, length\n${lines.join('')}`);
    checkRangesPath(path);
    givePartItsName(part, path, true);
  } catch (error) {
    fs.rmSync(part, { force: true });
    if (error instanceof Fault) throw error;
    throw fault('output-unsuitable', { path, reason: reasonOf(error) }, error);
  }
};
