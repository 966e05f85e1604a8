// Bitmaps as dirty trackers keep them: one bit for each unit of an image, the lowest bit of each byte first.

import type { Extent } from './extents.js';

const WORD_BYTES = 4;

/** Bytes of a bitmap for an image of `size` bytes, one bit for each `unit` bytes. */
export const bitmapBytes = (size: number, unit: number): number =>
  Math.ceil(Math.ceil(size / unit) / 8);

/** The bits as 32-bit words, if they lie so in memory: those of zeros are passed over four bytes at a time. */
const wordsOf = (bits: Uint8Array): Uint32Array | undefined =>
  bits.byteOffset % WORD_BYTES === 0
    ? new Uint32Array(bits.buffer, bits.byteOffset, Math.floor(bits.length / WORD_BYTES))
    : undefined;

/** The next byte from `from` on that is not zero; the number of bytes if there is none. */
const nextByte = (bits: Uint8Array, words: Uint32Array | undefined, from: number): number => {
  let at = from;
  while (at < bits.length && bits[at] === 0) {
    if (!words || at % WORD_BYTES !== 0) {
      at += 1;
      continue;
    }
    let word = at / WORD_BYTES;
    while (word < words.length && words[word] === 0) word += 1;
    const next = word * WORD_BYTES;
    at = next > at ? next : at + 1;
  }
  return at;
};

/**
 * What the bits that are set stand for, in bytes: sorted, joined, cut at `limit`. A bitmap may come in pieces, each of
 * which is looked at before the next one is asked for.
 */
export function* bitmapExtents(
  pieces: Iterable<Uint8Array>,
  unit: number,
  limit: number,
): Generator<Extent> {
  let start = -1;
  let end = -1;
  let before = 0;
  for (const bits of pieces) {
    const words = wordsOf(bits);
    for (let at = nextByte(bits, words, 0); at < bits.length; at = nextByte(bits, words, at + 1)) {
      const byte = bits[at] as number;
      for (let bit = 0; bit < 8; bit += 1) {
        if ((byte & (1 << bit)) === 0) continue;
        const from = ((before + at) * 8 + bit) * unit;
        if (from !== end) {
          if (end > start) yield { start, end: Math.min(end, limit) };
          start = from;
        }
        end = from + unit;
      }
    }
    before += bits.length;
  }
  if (end > start && start < limit) yield { start, end: Math.min(end, limit) };
}

/** Sets the bits of all units that bytes [start, end) touch. */
export const setBits = (bits: Uint8Array, unit: number, { start, end }: Extent): void => {
  const last = Math.ceil(end / unit);
  for (let i = Math.floor(start / unit); i < last; i += 1) {
    bits[i >>> 3] = (bits[i >>> 3] as number) | (1 << (i & 7));
  }
};

/** True when a bit past the image's last unit is set. */
export const hasBitsPast = (bits: Uint8Array, units: number): boolean => {
  const whole = Math.floor(units / 8);
  const rest = units % 8;
  const first = rest === 0 ? 0 : (bits[whole] as number) >>> rest;
  return first !== 0 || bits.subarray(rest === 0 ? whole : whole + 1).some((byte) => byte !== 0);
};
