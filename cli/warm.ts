// Threads for a command that is sure to need some, started before anything else is loaded: a thread takes
// about as long to start as this program, and there is a processor for each.

import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { BLOCK_BYTES, MiB } from '../disk/index.js';
import { Pools } from '../pipeline/index.js';

const VERBS: ReadonlySet<string> = new Set(['take', 'restore', 'verify', 'compare']);

/** With less than this to read, a command may end before its threads have started. */
const WORTH_THREADS = 32 * MiB;

const isLarge = (path: string): boolean => {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true && stat.blocks * BLOCK_BYTES >= WORTH_THREADS;
};

/** Pools with as many threads as there are processors, if one of the words names a large file. */
export const warmPools = ([verb = '', ...words]: readonly string[]): Pools | undefined => {
  try {
    // With a dirty source, how large the image is says nothing.
    const whole = VERBS.has(verb) && !words.some((word) => word.startsWith('--dirty'));
    return whole && words.some(isLarge) ? new Pools({ spare: availableParallelism() }) : undefined;
  } catch {
    return undefined; // Whatever is wrong with a path, the command itself says it better.
  }
};
