// Files that one take at a time may use.

import fs from 'node:fs';
import { fault, tryLockByte } from '../disk/index.js';

const PAUSE_MS = 5;

const pause = (): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
};

export interface LockOptions {
  /** Flags of open(2) besides those to read, write and create. */
  readonly flags?: number;
  /** Rights of a file that is made. */
  readonly mode: number;
  /** How long to wait for another to give it up. */
  readonly patienceMs?: number;
  /** Throws when the file is one that is not to be used; asked before it is locked. */
  readonly accept?: (stat: fs.BigIntStats) => void;
}

/** Locks an open file; a Fault (`dirty-busy`) when it stays locked so long. */
const lock = (fd: number, source: string, path: string, patienceMs: number): void => {
  const end = performance.now() + patienceMs;
  while (!tryLockByte(fd, 0)) {
    if (performance.now() >= end) throw fault('dirty-busy', { source, path });
    pause();
  }
};

/**
 * Opens and locks a file, and makes it when there is none; a Fault (`dirty-busy`) when it stays locked so long.
 * Throws the system's error, or what `accept` throws. `source` is for faults.
 */
export const openLocked = (
  source: string,
  path: string,
  { flags = 0, mode, patienceMs = 0, accept }: LockOptions,
): number => {
  const { O_RDWR, O_CREAT } = fs.constants;
  const fd = fs.openSync(path, O_RDWR | O_CREAT | flags, mode);
  try {
    accept?.(fs.fstatSync(fd, { bigint: true }));
    lock(fd, source, path, patienceMs);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
};
