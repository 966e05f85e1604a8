// The words of the command line.

import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { GiB, MiB, parseSize } from '../disk/index.js';

export const CASES = [
  'first',
  'restore',
  'verify',
  'next',
  'none',
  'scan',
  'update',
  'diff',
  'scale',
  'sparse',
  'bulk',
  'history',
  'pause',
] as const;
export type CaseName = (typeof CASES)[number];

export interface BenchOptions {
  /** Bytes of the image for first, restore, verify and next, and of all images of bulk. */
  readonly size: number;
  /** Bytes of the image for none, scan, update and diff; of the data in those of scale and sparse. */
  readonly big: number;
  readonly dir: string;
  readonly runs: number;
  readonly only: ReadonlySet<CaseName>;
  readonly seed: number;
  readonly json: boolean;
}

export const USAGE = `Usage: npm run bench -- [options]

  --size SIZE    image for first, restore, verify and next, all of bulk's, history (default: 1G)
  --big SIZE     image for all others; data in scale and sparse (default: 8G)
  --dir DIR      where everything is made (default: ${tmpdir()}); on /dev/shm syncs cost nothing
  --runs N       rounds (default: 3)
  --only CASES   some of ${CASES.join(',')}
  --seed N       another image (default: 1)
  --json         one JSON document`;

/** What is wrong with the command line. */
export class UsageError extends Error {}

/** Images are made of pages, and two clusters are the least that shows anything. */
const SIZE_STEP = MiB;
const MAX_RUNS = 100;

const sizeOf = (option: string, text: string): number => {
  const size = parseSize(text);
  if (size !== undefined && size >= SIZE_STEP && size % SIZE_STEP === 0) return size;
  throw new UsageError(`--${option} must be a multiple of 1M, not ${text}.`);
};

const numberOf = (option: string, text: string, most: number): number => {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= most) return value;
  throw new UsageError(`--${option} must be a whole number from 1 to ${most}, not ${text}.`);
};

const casesOf = (text: string): ReadonlySet<CaseName> => {
  const names = text.split(',').map((name) => {
    const known = CASES.find((known) => known === name.trim());
    if (known === undefined) throw new UsageError(`There is no case ${JSON.stringify(name)}.`);
    return known;
  });
  return new Set(names);
};

/** Parses the words after the program's name; undefined when help is asked for. */
export const parseOptions = (words: readonly string[]): BenchOptions | undefined => {
  const { values } = parseArgs({
    args: [...words],
    options: {
      size: { type: 'string', default: `${GiB}` },
      big: { type: 'string', default: `${8 * GiB}` },
      dir: { type: 'string', default: tmpdir() },
      runs: { type: 'string', default: '3' },
      only: { type: 'string', default: CASES.join(',') },
      seed: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  return {
    size: sizeOf('size', values.size),
    big: sizeOf('big', values.big),
    dir: values.dir,
    runs: numberOf('runs', values.runs, MAX_RUNS),
    only: casesOf(values.only),
    seed: numberOf('seed', values.seed, 2 ** 32 - 1),
    json: values.json,
  };
};
