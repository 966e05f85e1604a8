// Ordinary data: the contents of the files that this machine has. Programs, libraries, sources, texts
// and archives compress like what a guest keeps, which made-up data never does.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { MiB } from '../../disk/index.js';
import type { Random } from './random.js';

/** Where every machine that can run the benchmark has files; a missing one adds nothing. */
export const ROOTS: readonly string[] = [
  '/usr/bin',
  '/usr/include',
  '/usr/lib',
  '/usr/local',
  '/usr/share',
];

/** More than any image needs, and a bound on the time spent looking. */
const MAX_FILES = 200_000;
/** One huge archive must not be all there is. */
const MAX_BYTES_OF_A_FILE = 24 * MiB;
/**
 * When all files have been given they come again, each without its first bytes, by a number that no cluster size
 * divides: a large image on a small machine must not consist of clusters that are equal.
 */
const SHIFT_BYTES = 1021;

/** The regular files below `folder`, in the same order on every run. */
function* walk(folder: string): Generator<string> {
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(folder, { withFileTypes: true });
  } catch {
    return; // gone, or not ours to read
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield path;
  }
}

const listFiles = (roots: readonly string[]): string[] => {
  const files: string[] = [];
  for (const root of roots) {
    for (const path of walk(root)) {
      if (files.length === MAX_FILES) return files;
      files.push(path);
    }
  }
  return files;
};

/** Gives one file after another, in an order drawn by the seed; after the last it begins again. */
export class Corpus {
  readonly #random: Random;
  readonly #roots: readonly string[];
  /** Listed when the first is wanted: there may be very many. */
  #listed: readonly string[] | undefined;
  readonly #seen = createHash('sha256');
  #next = 0;

  constructor(random: Random, roots: readonly string[] = ROOTS) {
    this.#random = random;
    this.#roots = roots;
  }

  get #files(): readonly string[] {
    if (!this.#listed) {
      const files = listFiles(this.#roots);
      this.#random.shuffle(files);
      this.#listed = files;
    }
    return this.#listed;
  }

  /** The first `most` bytes (or fewer) of the next file that has any. Throws when the roots hold no file at all. */
  next(most: number): Buffer {
    for (let tries = 0; tries < 2 * this.#files.length; tries += 1) {
      const path = this.#files[this.#next % this.#files.length] as string;
      const skip = Math.floor(this.#next / this.#files.length) * SHIFT_BYTES;
      this.#next += 1;
      const content = readPart(path, skip, Math.min(most, MAX_BYTES_OF_A_FILE));
      if (content.length === 0) continue;
      this.#seen.update(`${path} ${skip} ${content.length}\n`);
      return content;
    }
    throw new Error('There is no readable file to make an image from.');
  }

  /** Stands for which files were used, and how much of each: equal means equal data. */
  get digest(): string {
    return this.#seen.copy().digest('hex').slice(0, 16);
  }
}

/** Nothing when the file cannot be read, or ends before `skip`. */
const readPart = (path: string, skip: number, most: number): Buffer => {
  let fd: number;
  try {
    fd = fs.openSync(path, 'r');
  } catch {
    return Buffer.alloc(0);
  }
  try {
    const length = Math.max(0, Math.min(most, fs.fstatSync(fd).size - skip));
    const content = Buffer.allocUnsafe(length);
    return content.subarray(0, fs.readSync(fd, content, 0, length, skip));
  } catch {
    return Buffer.alloc(0);
  } finally {
    fs.closeSync(fd);
  }
};
