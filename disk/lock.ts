// One writer per store. Locks are kernel locks on the open file (open file description locks), so they cannot
// go stale: they end with the process that holds them, however that ends. Who holds one is read from /proc.
//
// QEMU locks bytes of a file to say what it does with it and what it allows others (block/file-posix.c in its
// source): byte 100 + n for a permission it has, byte 200 + n for one that it does not share. We do the
// same, so that each side refuses what would harm the other.

import fs from 'node:fs';
import { Fault, fault, reasonOf } from './faults.js';
import { isByteLocked, tryLockByte } from './os.js';

/**
 * The byte that a writer of the store locks: "nvsnap" in ASCII, far past any data, so that no
 * program that locks what it reads or writes comes across it.
 */
export const WRITER_LOCK_BYTE = 0x6e7673;

/** QEMU's numbers of permissions: to write, to write what is there already, to change the length. */
const WRITE = 1;
const WRITE_UNCHANGED = 2;
const RESIZE = 3;
const HAS = 100;
const DOES_NOT_SHARE = 200;

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

/** A lock as a line of fdinfo has it: its first and last byte. */
const LOCK_LINE = /OFDLCK +\S+ +\S+ +\S+ +\S+ (\d+) (\d+|EOF)/g;

/** True when descriptor `fd` of process `pid` is file `inode` and holds a lock on a byte. */
const holdsLock = (pid: string, fd: string, inode: bigint, byte: number): boolean => {
  const info = readOr(`/proc/${pid}/fdinfo/${fd}`, '');
  const held = [...info.matchAll(LOCK_LINE)].some(
    ([, first, last]) => Number(first) <= byte && (last === 'EOF' || byte <= Number(last)),
  );
  if (!held) return false;
  try {
    return fs.statSync(`/proc/${pid}/fd/${fd}`, { bigint: true }).ino === inode;
  } catch {
    return false;
  }
};

/** "process 123 (node)" for the process that holds a lock on a byte of an open file; not ourselves by `fd`. */
const findHolder = (fd: number, byte: number): string => {
  const inode = fs.fstatSync(fd, { bigint: true }).ino;
  for (const pid of listOr('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    for (const candidate of listOr(`/proc/${pid}/fdinfo`)) {
      if (pid === String(process.pid) && candidate === String(fd)) continue;
      if (!holdsLock(pid, candidate, inode, byte)) continue;
      return `process ${pid} (${readOr(`/proc/${pid}/comm`, 'unknown').trim()})`;
    }
  }
  return 'another process';
};

/** First says what we do and do not share, then looks whether others do what they must not: as QEMU does. */
const lockAgainstQemu = (path: string, fd: number, alone: boolean): void => {
  const mine = [DOES_NOT_SHARE + WRITE, DOES_NOT_SHARE + WRITE_UNCHANGED, DOES_NOT_SHARE + RESIZE];
  if (alone) mine.push(HAS + WRITE);
  for (const byte of mine) {
    if (!tryLockByte(fd, byte, true)) {
      throw fault('store-locked', { path, holder: findHolder(fd, byte) });
    }
  }
  for (const byte of [HAS + WRITE, HAS + WRITE_UNCHANGED, HAS + RESIZE]) {
    if (isByteLocked(fd, byte)) throw fault('store-locked', { path, holder: findHolder(fd, byte) });
  }
  if (alone && isByteLocked(fd, DOES_NOT_SHARE + WRITE)) {
    throw fault('store-read', { path, holder: findHolder(fd, DOES_NOT_SHARE + WRITE) });
  }
};

/** True when `path` still names the open file. */
const isNamed = (path: string, fd: number): boolean => {
  const named = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  const open = fs.fstatSync(fd, { bigint: true });
  return named?.ino === open.ino && named.dev === open.dev;
};

/** Locks; a Fault where the file system of `path` has no locks. */
const withLocks = <T>(path: string, lock: () => T): T => {
  try {
    return lock();
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw fault('locks-missing', { path, reason: reasonOf(error) }, error);
  }
};

/**
 * Makes the caller the store's only writer until the file is closed, or says who is. A writer whose
 * first take fails removes the store it made: who opened it just before must not write to what no
 * longer has a name. QEMU may read meanwhile unless `alone`, since what is published stays where it is.
 */
export const lockWriter = (path: string, fd: number, alone = false): void => {
  withLocks(path, () => {
    if (!tryLockByte(fd, WRITER_LOCK_BYTE)) {
      throw fault('store-locked', { path, holder: findHolder(fd, WRITER_LOCK_BYTE) });
    }
    lockAgainstQemu(path, fd, alone);
  });
  if (!isNamed(path, fd)) throw fault('store-exists', { path });
};

/**
 * Makes the caller the only one that has this lock on an open file, which need not be writable, until the file is
 * closed. Undefined, or who has it. Of two that ask in the same moment, neither may get it. `path` is for faults.
 */
export const lockAlone = (fd: number, path: string): string | undefined => {
  const mine = withLocks(path, () => tryLockByte(fd, WRITER_LOCK_BYTE, true));
  if (mine && !isByteLocked(fd, WRITER_LOCK_BYTE)) return undefined;
  return findHolder(fd, WRITER_LOCK_BYTE);
};

/** Keeps others from removing a file that one is at work on; where there are no locks, nobody removes another's. */
export const lockAgainstRemoval = (fd: number): void => {
  try {
    tryLockByte(fd, WRITER_LOCK_BYTE);
  } catch {
    // Then whoever would remove it cannot tell that it may.
  }
};

/** Removes a regular file that no process has locked as its writer; leaves it when that cannot be told. */
export const removeAbandoned = (path: string): void => {
  const { O_RDWR, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  let fd: number;
  try {
    fd = fs.openSync(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  } catch {
    return;
  }
  try {
    const isOurs = fs.fstatSync(fd).isFile() && tryLockByte(fd, WRITER_LOCK_BYTE);
    if (isOurs && isNamed(path, fd)) fs.rmSync(path, { force: true });
  } catch {
    // Whose folder this is may not let others remove anything.
  } finally {
    fs.closeSync(fd);
  }
};
