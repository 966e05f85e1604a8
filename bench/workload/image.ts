// The image that everything is measured on, made anew from a seed: files laid out page by page as a
// file system on persistent memory does, pages of databases and of processes, some copies, a little noise, and
// free pages in between. Every page is written, zeros too, so that nobody gains from holes.

import fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { type Extent, KiB, MiB, roundUp } from '../../disk/index.js';
import { Corpus, ROOTS } from './corpus.js';
import { DatabasePages, MemoryPages } from './pages.js';
import { Random } from './random.js';

const PAGE = 4 * KiB;
/** Copies lie as the original does to this power of 2, so that whole clusters are equal. */
const ALIGNMENT = 64 * KiB;
const CHUNK_BYTES = 8 * MiB;
/** Pages of databases and processes lie together, so many bytes of them. */
const RUN_BYTES = 512 * KiB;

/** No piece is more of the image, so that a small one has its shares too; a cluster or two may be. */
const LARGEST_PIECE = 1 / 32;
const SMALLEST_PIECE = 128 * KiB;

/** What an image is made of. */
export type Part = 'files' | 'zeros' | 'copies' | 'noise' | 'database' | 'memory';
type Shares = Readonly<Partial<Record<Part, number>>>;

/** Shares of the whole by what an image is to be like. */
const SHARES = {
  mixed: { files: 0.43, zeros: 0.3, copies: 0.09, noise: 0.02, database: 0.08, memory: 0.08 },
  files: { files: 0.59, zeros: 0.3, copies: 0.09, noise: 0.02 },
  database: { database: 0.9, zeros: 0.1 },
  memory: { memory: 1 },
  zeros: { zeros: 1 },
  random: { noise: 1 },
} as const satisfies Record<string, Shares>;

export type Content = keyof typeof SHARES;
export const CONTENTS = Object.keys(SHARES) as readonly Content[];

export interface ImageOptions {
  readonly path: string;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  readonly seed: number;
  /** Default: mixed. */
  readonly content?: Content;
  /** Folders whose files make the contents. */
  readonly roots?: readonly string[];
}

/** What an image is made of. */
export interface ImageFacts {
  readonly size: number;
  readonly content: Content;
  /** Bytes of each part. */
  readonly parts: Readonly<Record<Part, number>>;
  readonly seed: number;
  /** Equal for images of the same files, size and seed. */
  readonly corpus: string;
}

/** Writes the image from front to back, and counts. */
class Pen {
  readonly #fd: number;
  readonly #size: number;
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #held = 0;
  at = 0;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.#size = size;
  }

  get left(): number {
    return this.#size - this.at;
  }

  flush(): void {
    fs.writeSync(this.#fd, this.#chunk, 0, this.#held, this.at - this.#held);
    this.#held = 0;
  }

  /** Appends bytes, up to the image's end. */
  put(bytes: Buffer): void {
    let from = 0;
    const end = Math.min(bytes.length, this.left);
    while (from < end) {
      const to = Math.min(end, from + CHUNK_BYTES - this.#held);
      bytes.copy(this.#chunk, this.#held, from, to);
      this.#held += to - from;
      this.at += to - from;
      from = to;
      if (this.#held === CHUNK_BYTES) this.flush();
    }
  }

  zeros(count: number): void {
    const most = Math.min(count, this.left);
    for (let done = 0; done < most; done += MiB) this.put(ZEROS.subarray(0, most - done));
  }

  /** The bytes written at [from, from + length). */
  read(from: number, length: number): Buffer {
    this.flush();
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, fs.readSync(this.#fd, bytes, 0, length, from));
  }
}

const ZEROS = Buffer.alloc(MiB);

/** What has been laid out so far, which decides what comes next. */
class Layout {
  readonly #pen: Pen;
  readonly #random: Random;
  readonly #corpus: Corpus;
  readonly #database: DatabasePages;
  readonly #memory: MemoryPages;
  readonly #shares: ReadonlyMap<Part, number>;
  /** Bytes of a piece, at most. */
  readonly #most: number;
  /** Parts of at least two alignment units, to take copies from. */
  readonly #originals: Extent[] = [];
  readonly bytes: Record<Part, number> = {
    files: 0,
    zeros: 0,
    copies: 0,
    noise: 0,
    database: 0,
    memory: 0,
  };

  constructor(pen: Pen, random: Random, corpus: Corpus, shares: Shares) {
    this.#pen = pen;
    this.#random = random;
    this.#corpus = corpus;
    this.#database = new DatabasePages(random);
    this.#memory = new MemoryPages(random);
    this.#most = Math.max(SMALLEST_PIECE, roundUp(pen.left * LARGEST_PIECE, PAGE));
    this.#shares = new Map(Object.entries(shares) as [Part, number][]);
  }

  /** Lays out the next piece of whatever is furthest behind its share. */
  next(): void {
    let [chosen, most]: [Part, number] = ['zeros', Number.NEGATIVE_INFINITY];
    for (const [part, share] of this.#shares) {
      if (part === 'copies' && this.#originals.length === 0) continue;
      const behind = share * (this.#pen.at + 1) - this.bytes[part];
      if (behind > most) [chosen, most] = [part, behind];
    }
    this.#lay(chosen);
  }

  #lay(part: Part): void {
    if (part === 'files') this.#file();
    else if (part === 'zeros')
      this.#freePages(Math.min(this.#most, this.#random.between(1, 2048) * PAGE));
    else if (part === 'copies') this.#copy();
    else if (part === 'noise') this.#noise();
    else this.#pages(part, part === 'database' ? this.#database : this.#memory);
  }

  #freePages(length: number): void {
    const before = this.#pen.at;
    this.#pen.zeros(length);
    this.bytes.zeros += this.#pen.at - before;
  }

  #pages(part: Part, pages: { next(): Buffer }): void {
    const before = this.#pen.at;
    const most = Math.min(this.#most, RUN_BYTES);
    while (this.#pen.left > 0 && this.#pen.at - before < most) this.#pen.put(pages.next());
    this.bytes[part] += this.#pen.at - before;
  }

  /** As encrypted or well compressed data is: nothing to gain. */
  #noise(): void {
    const bytes = Buffer.alloc(this.#random.between(1, 64) * PAGE);
    this.#random.fill(bytes);
    const before = this.#pen.at;
    this.#pen.put(bytes);
    this.bytes.noise += this.#pen.at - before;
  }

  #copy(): void {
    const { start, end } = this.#random.pick(this.#originals);
    const from = roundUp(start, ALIGNMENT);
    this.#freePages(roundUp(this.#pen.at, ALIGNMENT) - this.#pen.at);
    const before = this.#pen.at;
    this.#pen.put(this.#pen.read(from, end - from));
    this.bytes.copies += this.#pen.at - before;
  }

  #file(): void {
    const start = this.#pen.at;
    this.#pen.put(this.#corpus.next(Math.min(this.#most, this.#pen.left)));
    const end = this.#pen.at;
    this.bytes.files += end - start;
    this.#freePages(roundUp(end, PAGE) - end);
    if (end - start >= 2 * ALIGNMENT) this.#originals.push({ start, end });
  }
}

/** Makes the image. The same seed, size and files give the same bytes. */
export const makeImage = async (options: ImageOptions): Promise<ImageFacts> => {
  const { path, size, seed, roots, content = 'mixed' } = options;
  const random = new Random(seed);
  const corpus = new Corpus(random, roots ?? ROOTS);
  const fd = fs.openSync(path, 'wx+');
  try {
    const pen = new Pen(fd, size);
    const layout = new Layout(pen, random, corpus, SHARES[content]);
    while (pen.left > 0) {
      layout.next();
      await turn(); // so that a signal is heard
    }
    pen.flush();
    return { size, content, parts: layout.bytes, seed, corpus: corpus.digest };
  } finally {
    fs.closeSync(fd);
  }
};
