// The image that everything is measured on, made anew from a seed: files laid out page by page as a
// file system on persistent memory does, some copies, a little noise, and free pages in between. Every
// page is written, zeros too, so that nobody gains from holes.

import fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { type Extent, KiB, MiB, roundUp } from '../disk/index.js';
import { Corpus, ROOTS } from './corpus.js';
import { Random } from './random.js';

const PAGE = 4 * KiB;
/** Copies lie as the original does to this power of 2, so that whole clusters are equal. */
const ALIGNMENT = 64 * KiB;
const CHUNK_BYTES = 8 * MiB;

/** Shares of the whole. What is neither is the contents of files, once. */
const ZERO_SHARE = 0.3;
const COPY_SHARE = 0.09;
const NOISE_SHARE = 0.02;

export interface ImageOptions {
  readonly path: string;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  readonly seed: number;
  /** Folders whose files make the contents. */
  readonly roots?: readonly string[];
}

/** What an image is made of, in bytes. */
export interface ImageFacts {
  readonly size: number;
  readonly zeroBytes: number;
  readonly copyBytes: number;
  readonly noiseBytes: number;
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
  /** Parts of at least two alignment units, to take copies from. */
  readonly #originals: Extent[] = [];
  zeroBytes = 0;
  copyBytes = 0;
  noiseBytes = 0;

  constructor(pen: Pen, random: Random, corpus: Corpus) {
    this.#pen = pen;
    this.#random = random;
    this.#corpus = corpus;
  }

  /** Lays out the next piece: whatever has fallen behind its share, or else a file. */
  next(): void {
    const { at } = this.#pen;
    if (this.zeroBytes < at * ZERO_SHARE) this.#freePages(this.#random.between(1, 2048) * PAGE);
    else if (this.noiseBytes < at * NOISE_SHARE) this.#noise();
    else if (this.copyBytes < at * COPY_SHARE && this.#originals.length > 0) this.#copy();
    else this.#file();
  }

  #freePages(length: number): void {
    const before = this.#pen.at;
    this.#pen.zeros(length);
    this.zeroBytes += this.#pen.at - before;
  }

  /** As encrypted or well compressed data is: nothing to gain. */
  #noise(): void {
    const bytes = Buffer.alloc(this.#random.between(1, 64) * PAGE);
    this.#random.fill(bytes);
    const before = this.#pen.at;
    this.#pen.put(bytes);
    this.noiseBytes += this.#pen.at - before;
  }

  #copy(): void {
    const { start, end } = this.#random.pick(this.#originals);
    const from = roundUp(start, ALIGNMENT);
    this.#freePages(roundUp(this.#pen.at, ALIGNMENT) - this.#pen.at);
    const before = this.#pen.at;
    this.#pen.put(this.#pen.read(from, end - from));
    this.copyBytes += this.#pen.at - before;
  }

  #file(): void {
    const start = this.#pen.at;
    this.#pen.put(this.#corpus.next(this.#pen.left));
    const end = this.#pen.at;
    this.#freePages(roundUp(end, PAGE) - end);
    if (end - start >= 2 * ALIGNMENT) this.#originals.push({ start, end });
  }
}

/** Makes the image. The same seed, size and files give the same bytes. */
export const makeImage = async ({ path, size, seed, roots }: ImageOptions): Promise<ImageFacts> => {
  const random = new Random(seed);
  const corpus = new Corpus(random, roots ?? ROOTS);
  const fd = fs.openSync(path, 'wx+');
  try {
    const pen = new Pen(fd, size);
    const layout = new Layout(pen, random, corpus);
    while (pen.left > 0) {
      layout.next();
      await turn(); // so that a signal is heard
    }
    pen.flush();
    const { zeroBytes, copyBytes, noiseBytes } = layout;
    return { size, zeroBytes, copyBytes, noiseBytes, seed, corpus: corpus.digest };
  } finally {
    fs.closeSync(fd);
  }
};

/**
 * Changes one page in each of `count` clusters, spread over the image by the seed. The new page is
 * another page of the image with a mark of its own, so that it compresses like any other.
 */
export const changeImage = (
  path: string,
  { clusterSize, count, seed }: { clusterSize: number; count: number; seed: number },
): void => {
  const random = new Random(seed);
  const fd = fs.openSync(path, 'r+');
  try {
    const clusters = Math.floor(fs.fstatSync(fd).size / clusterSize);
    const chosen = new Set<number>();
    while (chosen.size < Math.min(count, clusters)) chosen.add(random.between(0, clusters - 1));
    const page = Buffer.alloc(PAGE);
    for (const cluster of chosen) {
      const from = random.between(0, clusters - 1) * clusterSize;
      fs.readSync(fd, page, 0, PAGE, from);
      random.fill(page.subarray(0, 16));
      const within = random.between(0, clusterSize / PAGE - 1) * PAGE;
      fs.writeSync(fd, page, 0, PAGE, cluster * clusterSize + within);
    }
  } finally {
    fs.closeSync(fd);
  }
};
