// Ways to write to an image that have gone wrong somewhere before.

import { randomFrom } from '../disk/index.js';

/** One write. */
export interface Edit {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Writes to an image of `size` bytes whose changes are named in units of `unit` bytes; other seeds, other writes. */
export type Pattern = (size: number, unit: number, seed: number) => readonly Edit[];

/** Whole numbers below a limit. */
const numbers = (seed: number): ((limit: number) => number) => {
  const random = randomFrom(seed);
  return (limit) => Math.floor(random() * limit);
};

const filled = (offset: number, length: number, byte: number): Edit => ({
  offset,
  bytes: Buffer.alloc(length, byte),
});

/** Single bytes anywhere. */
const bytesAnywhere: Pattern = (size, _unit, seed) => {
  const below = numbers(seed);
  return Array.from({ length: 40 }, () => filled(below(size), 1, 1 + below(255)));
};

/** Short writes across the borders of units. */
const acrossBorders: Pattern = (size, unit, seed) => {
  const below = numbers(seed);
  return Array.from({ length: 20 }, () =>
    filled(unit * (1 + below(Math.floor(size / unit) - 1)) - 3, 6, 1 + below(255)),
  );
};

/** The first byte and the last one. */
const ends: Pattern = (size, _unit, seed) => [
  filled(0, 1, 1 + (seed % 255)),
  filled(size - 1, 1, 1 + (seed % 255)),
];

/** Every other unit of a stretch. */
const everyOther: Pattern = (size, unit, seed) => {
  const units = Math.floor(size / unit);
  const first = numbers(seed)(Math.max(1, units - 64));
  return Array.from({ length: Math.min(32, units >> 1) }, (_, i) =>
    filled(((first + 2 * i) % units) * unit, 8, 1 + (seed % 255)),
  );
};

/** One long write that begins and ends inside units. */
const longRun: Pattern = (size, unit, seed) => {
  const below = numbers(seed);
  const length = Math.min(size >> 1, unit * (2 + below(64)) + 7);
  return [filled(below(size - length), length, 1 + below(255))];
};

/** Zeros over whatever there is. */
const zeros: Pattern = (size, unit, seed) => {
  const below = numbers(seed);
  const length = Math.min(size >> 1, unit * 5);
  return [filled(below(size - length), length, 0)];
};

/** The same bytes twice, then others, then the first again: the end is what it was, or is it. */
const backAndForth: Pattern = (size, unit, seed) => {
  const offset = numbers(seed)(size - unit);
  return [1, 1, 2, 1].map((byte) => filled(offset, unit, byte));
};

/** Everything, once. */
const everything: Pattern = (size, _unit, seed) => [filled(0, size, 1 + (seed % 255))];

/** Nothing at all. */
const nothing: Pattern = () => [];

export const PATTERNS: readonly Pattern[] = [
  bytesAnywhere,
  acrossBorders,
  ends,
  everyOther,
  longRun,
  zeros,
  backAndForth,
  everything,
  nothing,
];
