// Pages as databases and running programs have them, made from numbers. Real ones would be those of whoever runs the
// benchmark, and other ones the next time.

import { KiB } from '../../disk/index.js';
import type { Random } from './random.js';

/** A database's page. */
const DATABASE_PAGE = 8 * KiB;
const PAGE_HEADER = 24;
const LINE_POINTER = 4;
const ROW_HEADER = 24;

const SYLLABLES =
  'an ba cor del en fi gra hol in jo ka lor min nu or pel qui ra sto tur u ver wi yo zen'.split(
    ' ',
  );

const word = (random: Random): string => {
  const parts = random.between(1, 4);
  let text = '';
  for (let i = 0; i < parts; i += 1) text += random.pick(SYLLABLES);
  return text;
};

const sentence = (random: Random, words: number): string => {
  let text = word(random);
  for (let i = 1; i < words; i += 1) text += ` ${word(random)}`;
  return text;
};

/** Pages of one table, one after another: slots at the front, rows from the end, room in between, as in PostgreSQL. */
export class DatabasePages {
  readonly #random: Random;
  #row = 0;
  #time = 1_700_000_000;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Writes one row so that it ends at `end`; returns where it begins. */
  #writeRow(page: Buffer, end: number): number {
    const random = this.#random;
    const text = sentence(random, random.between(2, 9));
    const start = (end - ROW_HEADER - 40 - text.length) & ~7;
    this.#row += 1;
    this.#time += random.between(0, 30);
    // Transaction, flags, length of the header; then key, time, state, amount, a hash and a text.
    page.writeUInt32LE(1000 + (this.#row >>> 6), start);
    page.writeUInt32LE(0x0802_0006, start + 18);
    page[start + 22] = ROW_HEADER;
    page.writeUInt32LE(this.#row, start + ROW_HEADER);
    page.writeUInt32LE(this.#time, start + ROW_HEADER + 8);
    page.writeUInt16LE(random.between(0, 5), start + ROW_HEADER + 12);
    page.writeDoubleLE(random.between(100, 99_999) / 100, start + ROW_HEADER + 16);
    random.fill(page.subarray(start + ROW_HEADER + 24, start + ROW_HEADER + 36));
    page.write(text, start + ROW_HEADER + 40, 'latin1');
    return start;
  }

  /** The next page, in a buffer of its own. */
  next(): Buffer {
    const page = Buffer.alloc(DATABASE_PAGE);
    const random = this.#random;
    /** Some pages have been emptied by deletions. */
    const least = PAGE_HEADER + (random.share() < 0.15 ? random.between(1, 7) * KiB : 0);
    let slots = PAGE_HEADER;
    let free = DATABASE_PAGE;
    while (free - slots > 192 && free > least) {
      const start = this.#writeRow(page, free);
      page.writeUInt16LE(start, slots);
      page.writeUInt16LE((free - start) << 1, slots + 2);
      free = start;
      slots += LINE_POINTER;
    }
    page.writeUInt32LE(random.word(), 4);
    page.writeUInt16LE(random.between(0, 0xffff), 8);
    page.writeUInt16LE(slots, 12);
    page.writeUInt16LE(free, 14);
    page.writeUInt16LE(DATABASE_PAGE, 16);
    return page;
  }
}

/** A page of memory. */
const MEMORY_PAGE = 4 * KiB;
/** Upper halves of addresses of code and of the heap, as Linux gives them on 64-bit machines. */
const CODE_HIGH = 0x5581;
const HEAP_HIGH = 0x7f3a;
const CLASSES = 96;
const EMPTY_SHARE = 0.12;
const TEXT_SHARE = 0.25;

/** Pages of one process: objects with pointers, counters and flags; texts; pages that nobody has used yet. */
export class MemoryPages {
  readonly #random: Random;
  readonly #classes: readonly number[];
  #heap = 0x1000_0000;

  constructor(random: Random) {
    this.#random = random;
    this.#classes = Array.from({ length: CLASSES }, () => random.word() & ~0xf);
  }

  #objects(page: Buffer): void {
    const random = this.#random;
    let at = 0;
    while (at < MEMORY_PAGE) {
      const words = random.between(2, 9);
      const end = Math.min(MEMORY_PAGE, at + words * 8);
      page.writeUInt32LE(random.pick(this.#classes) >>> 0, at);
      page.writeUInt32LE(CODE_HIGH, at + 4);
      for (let word = at + 8; word < end; word += 8) {
        const kind = random.share();
        if (kind < 0.35) {
          page.writeUInt32LE((this.#heap - random.between(0, 0xf_ffff) * 16) >>> 0, word);
          page.writeUInt32LE(HEAP_HIGH, word + 4);
        } else if (kind < 0.7) page.writeUInt32LE(random.between(0, 200), word);
        else if (kind < 0.78) page.writeDoubleLE(random.share() * 1000, word);
      }
      at = end;
    }
    this.#heap += MEMORY_PAGE;
  }

  #texts(page: Buffer): void {
    const random = this.#random;
    let at = 0;
    while (at < MEMORY_PAGE - 16) {
      const text = sentence(random, random.between(1, 12));
      const room = MEMORY_PAGE - at - 16;
      page.writeUInt32LE(text.length, at);
      page.write(text.slice(0, room), at + 8, 'latin1');
      at = (at + 8 + Math.min(room, text.length) + 15) & ~15;
    }
  }

  /** The next page, in a buffer of its own. */
  next(): Buffer {
    const page = Buffer.alloc(MEMORY_PAGE);
    const kind = this.#random.share();
    if (kind >= EMPTY_SHARE + TEXT_SHARE) this.#objects(page);
    else if (kind >= EMPTY_SHARE) this.#texts(page);
    return page;
  }
}
