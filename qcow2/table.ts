// A table of big-endian 64-bit words (L1, L2, refcount table), in memory as 32-bit halves.

import { endianness } from 'node:os';

if (endianness() !== 'LE') throw new Error('nvsnap runs on little-endian machines only');

const WORD_BYTES = 8;

export class Table {
  readonly #halves: Uint32Array;

  protected constructor(halves: Uint32Array) {
    this.#halves = halves;
  }

  /** A table of `entries` zero words. */
  static empty(entries: number): Table {
    return new Table(new Uint32Array(entries * 2));
  }

  /** Decodes on-disk words; `raw` is not kept. Its length is a multiple of 8. */
  static decode(raw: Uint8Array): Table {
    return new Table(Table.halvesOf(raw));
  }

  /** Takes on-disk words over: `raw`, whose length is a multiple of 8, is the table's from now on. */
  static over(raw: Buffer): Table {
    raw.swap64();
    return new Table(new Uint32Array(raw.buffer, raw.byteOffset, raw.length / 4));
  }

  /** On-disk words as halves in memory. */
  protected static halvesOf(raw: Uint8Array): Uint32Array {
    const copy = Buffer.from(new ArrayBuffer(raw.length));
    copy.set(raw);
    copy.swap64();
    return new Uint32Array(copy.buffer, 0, raw.length / 4);
  }

  /** The on-disk words, big endian, zero-padded to `length` bytes (default: no padding). */
  encode(length = this.#halves.byteLength): Buffer {
    const out = Buffer.alloc(length);
    const words = out.subarray(0, this.#halves.byteLength);
    words.set(new Uint8Array(this.#halves.buffer, this.#halves.byteOffset, words.length));
    words.swap64();
    return out;
  }

  /** Low and high half of each word, one after the other; not to be kept. */
  get halves(): Uint32Array {
    return this.#halves;
  }

  /** Number of words. */
  get length(): number {
    return this.#halves.length / 2;
  }

  get byteLength(): number {
    return this.length * WORD_BYTES;
  }

  hi(index: number): number {
    return this.#halves[index * 2 + 1] as number;
  }

  lo(index: number): number {
    return this.#halves[index * 2] as number;
  }

  set(index: number, hi: number, lo: number): void {
    this.#halves[index * 2 + 1] = hi;
    this.#halves[index * 2] = lo;
  }

  /** True when the word is 0. */
  isClear(index: number): boolean {
    return (this.lo(index) | this.hi(index)) === 0;
  }

  /** Makes words [first, end) 0; false when they were already. */
  clear(first: number, end: number): boolean {
    for (let i = first * 2; i < end * 2; i += 1) {
      if (this.#halves[i] === 0) continue;
      this.#halves.fill(0, i, end * 2);
      return true;
    }
    return false;
  }

  /** True when every word is 0. */
  isEmpty(): boolean {
    for (const half of this.#halves) if (half !== 0) return false;
    return true;
  }

  /** A copy with `entries` words: cut, or extended with zeros. */
  resized(entries: number): Table {
    const halves = new Uint32Array(entries * 2);
    halves.set(this.#halves.subarray(0, Math.min(entries * 2, this.#halves.length)));
    return new Table(halves);
  }
}
