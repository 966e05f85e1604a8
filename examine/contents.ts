// Images to try stages on: noise, zeros, text, machine code, and what lies between.

import { createCipheriv } from 'node:crypto';
import fs from 'node:fs';

/** Makes the bytes of cluster `i`. */
type Content = (length: number, i: number) => Buffer;

/** The keystream of a cipher: nothing makes noise faster that is the same for the same seed. */
const noiseFrom = (seed: number): ((length: number) => Buffer) => {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed >>> 0);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  return (length) => cipher.update(Buffer.alloc(length));
};

/** Lines as a log has them, each a little different. */
const text: Content = (length, i) => {
  const lines: string[] = [];
  let bytes = 0;
  for (let n = 0; bytes < length; n += 1) {
    const line = `2026-11-${(n % 28) + 1} info request ${i * 7919 + n} of user ${(n * 31) % 997} took ${n % 113} ms\n`;
    lines.push(line);
    bytes += line.length;
  }
  return Buffer.from(lines.join('')).subarray(0, length);
};

/** A piece of this program's own machine code. */
const code: Content = (length, i) => {
  const fd = fs.openSync(process.execPath, 'r');
  try {
    const bytes = Buffer.alloc(length);
    const { size } = fs.fstatSync(fd);
    fs.readSync(fd, bytes, 0, length, (size / 4 + i * 1_000_003) % (size / 2));
    return bytes;
  } finally {
    fs.closeSync(fd);
  }
};

/**
 * An image of so many bytes, of clusters of all sorts one after another; every eighth has been there before. The same
 * for the same seed.
 */
export const makeImage = (bytes: number, clusterSize: number, seed: number): Buffer => {
  const noise = noiseFrom(seed);
  const sorts: readonly Content[] = [
    noise,
    (length) => Buffer.alloc(length),
    text,
    code,
    (length) => Buffer.concat([Buffer.alloc(length >> 1), noise(length - (length >> 1))]),
    (length, i) => Buffer.alloc(length, i + 1),
    (length, i) => Buffer.concat([text(length - 64, i), noise(64)]),
  ];
  const image = Buffer.alloc(bytes);
  for (let i = 0, at = 0; at < bytes; i += 1, at += clusterSize) {
    const sort = sorts[i % 8];
    // Whole clusters, so that one that is cut is the beginning of another.
    const content = sort ? sort(clusterSize, i) : image.subarray(0, clusterSize);
    content.copy(image, at);
  }
  return image;
};
