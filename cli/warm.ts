// Threads for a command that is sure to need some, started before anything else is loaded: a thread takes
// about as long to start as this program, and there is a processor for each.

import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { BLOCK_BYTES, MiB } from '../disk/index.js';
import { Pools } from '../pipeline/index.js';

const VERBS: ReadonlySet<string> = new Set(['take', 'restore', 'verify', 'compare']);

/** With less than this to read, a command may end before its threads have started. */
const WORTH_THREADS = 32 * MiB;

/** The first bytes of a qcow2 file, and where it says how large its disk is (docs/format.md). */
const QCOW2_MAGIC = 0x5146_49fb;
const DISK_SIZE_AT = 24;

/** The size of a qcow2 file's disk in bytes; of any other file there is no telling. */
const diskBytes = (path: string): number => {
  const head = Buffer.alloc(DISK_SIZE_AT + 8);
  const fd = fs.openSync(path, 'r');
  try {
    fs.readSync(fd, head, 0, head.length, 0);
  } finally {
    fs.closeSync(fd);
  }
  const isStore = head.readUInt32BE(0) === QCOW2_MAGIC;
  return isStore ? Number(head.readBigUInt64BE(DISK_SIZE_AT)) : Number.POSITIVE_INFINITY;
};

/** True when a file has much to read; of one snapshot, when the store has many of a small image. */
const isLarge = (path: string, verb: string): boolean => {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile() || stat.blocks * BLOCK_BYTES < WORTH_THREADS) return false;
  return verb === 'verify' || diskBytes(path) >= WORTH_THREADS;
};

/** Pools with as many threads as there are processors, if one of the words names a large file. */
export const warmPools = ([verb = '', ...words]: readonly string[]): Pools | undefined => {
  try {
    // With a dirty source, how large the image is says nothing.
    const whole = VERBS.has(verb) && !words.some((word) => word.startsWith('--dirty'));
    return whole && words.some((word) => isLarge(word, verb))
      ? new Pools({ spare: availableParallelism() })
      : undefined;
  } catch {
    return undefined; // Whatever is wrong with a path, the command itself says it better.
  }
};
