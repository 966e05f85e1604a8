// A fast wrong answer is worth nothing: what came out is held against the image, byte by byte.

import fs from 'node:fs';
import type { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { MiB } from '../disk/index.js';

const CHUNK_BYTES = 4 * MiB;

/** The output of a contender differs from the image. */
export class WrongOutput extends Error {
  constructor(who: string, offset: number) {
    super(`${who} is disqualified: its output differs from the image at byte ${offset}.`);
  }
}

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

/** Holds a stream of bytes against an image; throws WrongOutput naming `who`. */
export const checkStream = async (
  who: string,
  image: string,
  output: Readable | Iterable<Buffer>,
): Promise<void> => {
  const fd = fs.openSync(image, 'r');
  let at = 0;
  try {
    for await (const chunk of output as AsyncIterable<Buffer>) {
      const expected = Buffer.allocUnsafe(chunk.length);
      const known = expected.subarray(0, readFull(fd, expected));
      if (!known.equals(chunk)) throw new WrongOutput(who, at + firstDifference(known, chunk));
      at += chunk.length;
      await turn(); // so that a signal is heard
    }
    if (at !== fs.fstatSync(fd).size) throw new WrongOutput(who, at);
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

/** Holds a file against an image. */
export const checkFile = (who: string, image: string, output: string): Promise<void> =>
  checkStream(who, image, chunksOf(output));
