// Files for tests: a folder that goes away, content that can be made again, and honest comparison.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { readAt } from '../../disk/index.js';

const CHUNK_BYTES = 1024 * 1024;

/** Where files are read to; fresh memory costs more than what is done with it. */
const chunks = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)] as const;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

const newFolder = (t: Test, place: string): string => {
  const folder = fs.realpathSync(fs.mkdtempSync(join(place, 'nvsnap-test-')));
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
};

/** A new folder, removed with all that is in it when the test ends; in memory where `scripts/test` says so. */
export const tempDir = (t: Test): string =>
  newFolder(t, process.env.NVSNAP_TEST_SCRATCH ?? tmpdir());

/** The same on a disk, for what is about files as a disk's file system has them. */
export const diskDir = (t: Test): string => newFolder(t, tmpdir());

/** Opens files for reading, and closes them whatever happens. */
const withOpen = <T>(paths: readonly string[], use: (fds: readonly number[]) => T): T => {
  const fds: number[] = [];
  try {
    for (const path of paths) fds.push(fs.openSync(path, 'r'));
    return use(fds);
  } finally {
    for (const fd of fds) fs.closeSync(fd);
  }
};

/**
 * The first byte at which two files differ; -1 when they are the same. A shorter file differs where
 * it ends.
 */
export const firstDifference = (a: string, b: string): number =>
  withOpen([a, b], ([left, right]) => {
    const [x, y] = chunks;
    for (let at = 0; ; at += CHUNK_BYTES) {
      const got = readAt(left as number, x, at);
      const other = readAt(right as number, y, at);
      const common = Math.min(got, other);
      if (!x.subarray(0, common).equals(y.subarray(0, common))) {
        let i = 0;
        while (x[i] === y[i]) i += 1;
        return at + i;
      }
      if (got !== other) return at + common;
      if (got < CHUNK_BYTES) return -1;
    }
  });

/** True when a file holds nothing but zeros from `start` on. */
export const endsInZeros = (path: string, start: number): boolean =>
  withOpen([path], ([fd]) => {
    const [chunk] = chunks;
    for (let at = start; ; at += CHUNK_BYTES) {
      const got = readAt(fd as number, chunk, at);
      if (!chunk.subarray(0, got).equals(ZEROS.subarray(0, got))) return false;
      if (got < CHUNK_BYTES) return true;
    }
  });

/** True when two files hold the same bytes. */
export const sameFile = (a: string, b: string): boolean => firstDifference(a, b) === -1;

/** SHA-256 of a whole file, in hexadecimal. */
export const sha256File = (path: string): string =>
  withOpen([path], ([fd]) => {
    const hash = createHash('sha256');
    const [chunk] = chunks;
    for (let at = 0; ; at += CHUNK_BYTES) {
      const got = readAt(fd as number, chunk, at);
      hash.update(chunk.subarray(0, got));
      if (got < CHUNK_BYTES) return hash.digest('hex');
    }
  });

/** Copies a file: a reflink where the file system can, otherwise all of it with its holes kept. */
export const copyState = (from: string, to: string): void => {
  try {
    fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE_FORCE);
  } catch {
    fs.rmSync(to, { force: true });
    copySparse(from, to);
  }
};

const copySparse = (from: string, to: string): void => {
  withOpen([from], ([fd]) => {
    const out = fs.openSync(to, 'wx');
    try {
      const [chunk] = chunks;
      let at = 0;
      for (;;) {
        const got = readAt(fd as number, chunk, at);
        const part = chunk.subarray(0, got);
        if (!part.equals(ZEROS.subarray(0, got))) fs.writeSync(out, part, 0, got, at);
        at += got;
        if (got < CHUNK_BYTES) break;
      }
      fs.ftruncateSync(out, at);
    } finally {
      fs.closeSync(out);
    }
  });
};

/** Opens a file for the time that `use` takes. */
export const withFd = async <T>(
  path: string,
  flags: string,
  use: (fd: number) => Promise<T>,
): Promise<T> => {
  const fd = fs.openSync(path, flags);
  try {
    return await use(fd);
  } finally {
    fs.closeSync(fd);
  }
};

/** Writes `data` into an existing file at a position, as a guest would: in place. */
export const patch = (path: string, data: Uint8Array, position: number): void => {
  const fd = fs.openSync(path, 'r+');
  try {
    fs.writeSync(fd, data, 0, data.length, position);
  } finally {
    fs.closeSync(fd);
  }
};

/** Bytes a file takes on disk. */
export const allocatedBytes = (path: string): number => fs.statSync(path).blocks * 512;

const STEP = 0x6d2b79f5;

/** The number that a state stands for. */
const mixed = (state: number): number => {
  let x = state;
  x = Math.imul(x ^ (x >>> 15), x | 1);
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
  return (x ^ (x >>> 14)) >>> 0;
};

/** Random numbers that are the same for the same seed (mulberry32): a failure can be repeated. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number below 2^32. */
  next(): number {
    this.#state = (this.#state + STEP) >>> 0;
    return mixed(this.#state);
  }

  /** A whole number in [0, limit). */
  below(limit: number): number {
    return this.next() % limit;
  }

  /** Incompressible bytes. */
  bytes(length: number): Buffer {
    const words = new Uint32Array(Math.ceil(length / 4));
    let state = this.#state;
    for (let i = 0; i < words.length; i += 1) {
      state = (state + STEP) | 0;
      words[i] = mixed(state);
    }
    this.#state = state >>> 0;
    return Buffer.from(words.buffer, 0, length);
  }

  /** `count` different whole numbers in [0, limit), ascending. */
  pick(count: number, limit: number): number[] {
    const chosen = new Set<number>();
    while (chosen.size < count) chosen.add(this.below(limit));
    return [...chosen].sort((a, b) => a - b);
  }
}

/** `length` incompressible bytes that are the same for the same seed. */
export const randomBytes = (length: number, seed: number): Buffer => new Random(seed).bytes(length);
