// What the benchmark can be asked for.

import { tmpdir } from 'node:os';
import { GiB, KiB } from '../disk/index.js';
import type { Pattern } from './workload/change.js';
import type { Content } from './workload/image.js';

/** The levels and their cases, in the order in which they run. */
export const CASES = {
  kernels: ['zero-test', 'digests', 'encode', 'decode', 'tables'],
  stages: [
    'stage-scan',
    'stage-dedup',
    'stage-compress',
    'stage-write',
    'stage-fetch',
    'stage-decode',
    'stage-verify',
    'stage-deliver',
  ],
  pipeline: ['hops', 'overhead', 'timeline'],
  commands: [
    'first',
    'fast',
    'zlib',
    'restore',
    'verify',
    'remove',
    'start',
    'none',
    'next',
    'dirty',
    'update',
    'diff',
    'bulk',
    'pause',
  ],
  scale: [
    'by-size',
    'by-rate',
    'by-pattern',
    'by-cluster',
    'by-codec',
    'by-threads',
    'history',
    'huge',
    'sparse',
  ],
} as const;

/** Bytes of a cluster wherever nothing else is said. */
export const CLUSTER = 64 * KiB;

/** Cases with images of their own making: a user's image is nothing to them. */
export const WITH_OWN_IMAGES: ReadonlySet<string> = new Set([
  'bulk',
  'by-size',
  'history',
  'huge',
  'pause',
  'sparse',
]);

export type Level = keyof typeof CASES;
export type CaseName = (typeof CASES)[Level][number];

export const LEVELS = Object.keys(CASES) as readonly Level[];
export const CASE_NAMES: readonly CaseName[] = LEVELS.flatMap((level) => [...CASES[level]]);

export interface BenchOptions {
  /** The program that is measured: path of nvsnap.js. */
  readonly program: string;
  /** Bytes of the image of most cases. */
  readonly size: number;
  /** Bytes of the image of none, next, dirty, update and diff; of the data in those of huge and sparse. */
  readonly big: number;
  /** What the images are like. */
  readonly content: Content;
  /** What happens to them between two takes, and to how many percent of the clusters. */
  readonly pattern: Pattern;
  readonly changed: number;
  /** An image of the user's instead of ours, and its next state. Both are only read. */
  readonly image: string | undefined;
  readonly next: string | undefined;
  /** Where everything is made. */
  readonly dir: string;
  readonly rounds: number;
  readonly cases: ReadonlySet<CaseName>;
  readonly seed: number;
  /** Whether what is read is in the page cache before each round, or is dropped from it. */
  readonly cache: 'warm' | 'dropped';
  /** Milliseconds that each kernel runs in a round. */
  readonly kernelMs: number;
}

export const DEFAULTS: Omit<BenchOptions, 'program'> = {
  size: GiB,
  big: 8 * GiB,
  content: 'mixed',
  pattern: 'scattered',
  changed: 1,
  image: undefined,
  next: undefined,
  dir: tmpdir(),
  rounds: 3,
  cases: new Set(CASE_NAMES),
  seed: 1,
  cache: 'warm',
  kernelMs: 50,
};

export const levelOf = (name: CaseName): Level =>
  LEVELS.find((level) => (CASES[level] as readonly string[]).includes(name)) as Level;

/** The cases of a list of levels and cases; what of it is neither is handed back. */
export const casesOf = (
  words: readonly string[],
): { readonly cases: ReadonlySet<CaseName>; readonly unknown: readonly string[] } => {
  const cases = new Set<CaseName>();
  const unknown: string[] = [];
  for (const word of words) {
    const level = LEVELS.find((name) => name === word);
    const single = CASE_NAMES.find((name) => name === word);
    if (level) for (const name of CASES[level]) cases.add(name);
    else if (single) cases.add(single);
    else unknown.push(word);
  }
  return { cases, unknown };
};
