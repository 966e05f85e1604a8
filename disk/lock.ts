// One writer per store. The lock is a kernel lock on the open file, so it cannot go stale: it ends
// with the process that holds it, however that ends. Who holds it is read from /proc.

import fs from 'node:fs';
import { fault } from './faults.js';
import { tryLockByte } from './os.js';

/**
 * The byte that a writer of the store locks: "nvsnap" in ASCII, far past any data, so that no
 * program that locks what it reads or writes comes across it.
 */
export const WRITER_LOCK_BYTE = 0x6e7673;

const readOr = (path: string, otherwise: string): string => {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
};

const listOr = (path: string): string[] => {
  try {
    return fs.readdirSync(path);
  } catch {
    return [];
  }
};

/** True when descriptor `fd` of process `pid` is file `inode` and holds a write lock on our byte. */
const holdsLock = (pid: string, fd: string, inode: bigint): boolean => {
  const info = readOr(`/proc/${pid}/fdinfo/${fd}`, '');
  if (!info.includes('OFDLCK') || !info.includes(`${WRITER_LOCK_BYTE} ${WRITER_LOCK_BYTE}`)) {
    return false;
  }
  try {
    return fs.statSync(`/proc/${pid}/fd/${fd}`, { bigint: true }).ino === inode;
  } catch {
    return false;
  }
};

/** "process 123 (node)" for the process that holds the writer lock of an open file. */
const findHolder = (fd: number): string => {
  const inode = fs.fstatSync(fd, { bigint: true }).ino;
  for (const pid of listOr('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    for (const candidate of listOr(`/proc/${pid}/fdinfo`)) {
      if (!holdsLock(pid, candidate, inode)) continue;
      return `process ${pid} (${readOr(`/proc/${pid}/comm`, 'unknown').trim()})`;
    }
  }
  return 'another process';
};

/** True when `path` still names the open file. */
const isNamed = (path: string, fd: number): boolean => {
  const named = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  const open = fs.fstatSync(fd, { bigint: true });
  return named?.ino === open.ino && named.dev === open.dev;
};

/**
 * Makes the caller the store's only writer until the file is closed, or says who is. A writer whose
 * first take fails removes the store it made: who opened it just before must not write to what no
 * longer has a name.
 */
export const lockWriter = (path: string, fd: number): void => {
  if (!tryLockByte(fd, WRITER_LOCK_BYTE)) {
    throw fault('store-locked', { path, holder: findHolder(fd) });
  }
  if (!isNamed(path, fd)) throw fault('store-exists', { path });
};
