// A fast wrong answer is worth nothing: what came out is held against the image, byte by byte.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import type { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { dataExtents, type Fault, fault, MiB, unionExtents } from '../../disk/index.js';

const CHUNK_BYTES = 4 * MiB;
/** Hexadecimal figures of a digest that is to be read by people. */
const DIGEST_FIGURES = 16;

/** The output of a contender differs from the image. */
const wrong = (who: string, offset: number): Fault => fault('bench-wrong', { who, offset });

/** Fills `into` from the file as far as it goes; returns the bytes read. */
const readFull = (fd: number, into: Buffer): number => {
  let done = 0;
  while (done < into.length) {
    const got = fs.readSync(fd, into, done, into.length - done, null);
    if (got === 0) break;
    done += got;
  }
  return done;
};

const firstDifference = (a: Buffer, b: Buffer): number => {
  const common = Math.min(a.length, b.length);
  for (let i = 0; i < common; i += 1) if (a[i] !== b[i]) return i;
  return common;
};

/** A digest of chunks of bytes. */
export class Digest {
  readonly #hash = createHash('sha256');

  add(bytes: Uint8Array | string): void {
    this.#hash.update(bytes);
  }

  get text(): string {
    return this.#hash.copy().digest('hex').slice(0, DIGEST_FIGURES);
  }
}

export const digestOf = (...parts: readonly (Uint8Array | string)[]): string => {
  const digest = new Digest();
  for (const part of parts) digest.add(part);
  return digest.text;
};

/** Holds a stream of bytes against an image; throws a fault naming `who`. Resolves to their digest. */
export const checkStream = async (
  who: string,
  image: string,
  output: Readable | Iterable<Buffer>,
): Promise<string> => {
  const fd = fs.openSync(image, 'r');
  const digest = new Digest();
  let at = 0;
  try {
    for await (const chunk of output as AsyncIterable<Buffer>) {
      const expected = Buffer.allocUnsafe(chunk.length);
      const known = expected.subarray(0, readFull(fd, expected));
      if (!known.equals(chunk)) throw wrong(who, at + firstDifference(known, chunk));
      at += chunk.length;
      digest.add(chunk);
      await turn(); // so that a signal is heard
    }
    if (at !== fs.fstatSync(fd).size) throw wrong(who, at);
    return digest.text;
  } finally {
    fs.closeSync(fd);
  }
};

function* chunksOf(path: string): Generator<Buffer> {
  const fd = fs.openSync(path, 'r');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  try {
    for (let got = readFull(fd, chunk); got > 0; got = readFull(fd, chunk)) {
      yield chunk.subarray(0, got);
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** Holds a file against an image; resolves to their digest. */
export const checkFile = (who: string, image: string, output: string): Promise<string> =>
  checkStream(who, image, chunksOf(output));

/** Holds a file against an image where either has data; the rest of both reads as zeros. Resolves to their digest. */
export const checkSparse = async (who: string, image: string, output: string): Promise<string> => {
  const [a, b] = [fs.openSync(image, 'r'), fs.openSync(output, 'r')];
  const [of, other] = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)];
  const digest = new Digest();
  try {
    const { size } = fs.fstatSync(a);
    if (fs.fstatSync(b).size !== size) throw wrong(who, size);
    const whole = { start: 0, end: size };
    const parts = [...unionExtents([...dataExtents(a, whole)], [...dataExtents(b, whole)])];
    for (const { start, end } of parts) {
      for (let at = start; at < end; at += CHUNK_BYTES) {
        const length = Math.min(CHUNK_BYTES, end - at);
        const [expected, found] = [of.subarray(0, length), other.subarray(0, length)];
        fs.readSync(a, expected, 0, length, at);
        fs.readSync(b, found, 0, length, at);
        if (!expected.equals(found)) throw wrong(who, at + firstDifference(expected, found));
        digest.add(expected);
        await turn(); // so that a signal is heard
      }
    }
    return digest.text;
  } finally {
    fs.closeSync(a);
    fs.closeSync(b);
  }
};
