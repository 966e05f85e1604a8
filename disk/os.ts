// The system calls Node has no name for.

import fs from 'node:fs';
import type { Extent } from './extents.js';
import { errnoOf } from './faults.js';
import { errorOf, native } from './native.js';

const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;
const POLLIN = 1;
const POLLOUT = 4;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const SYNC_FILE_RANGE_WRITE = 2;
const POSIX_FADV_DONTNEED = 4;
const FALLOC_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02;
const O_TMPFILE = 0o20000000 | fs.constants.O_DIRECTORY;
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
const RENAME_NOREPLACE = 1;
/** How a lock is refused that somebody else holds. */
const HELD: ReadonlySet<string | undefined> = new Set(['EAGAIN', 'EACCES']);
/** How file systems say that they have no hard links, or no such call. */
const NOT_THERE: ReadonlySet<string | undefined> = new Set([
  'EPERM',
  'ENOSYS',
  'EOPNOTSUPP',
  'ENOTSUP',
  'EINVAL',
]);

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const PTRACE_DETACH = 17;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const WNOHANG = 1;
const WALL = 0x40000000;
const STOPPED = 0x7f;

export const PAGE_BYTES = 4096;

/** ioctl(2) with a number, or a structure, which the call may change. Throws the system's error. */
export const ioctl = (fd: number, request: number, argument: number | Uint8Array): void => {
  const got = native.call(native.SYS_ioctl, fd, request, argument);
  if (got < 0) throw errorOf('ioctl', got);
};

/** Shared memory of which the bytes from `start` on are meant. */
export interface SharedBytes {
  readonly memory: SharedArrayBuffer;
  readonly start: number;
}

/**
 * So many bytes of shared memory that begin on a page boundary. Left to itself an allocation begins 16
 * bytes behind one, and some processors copy page cache to such a place at a quarter of the speed: a store
 * a few bytes ahead of the next load, modulo 4096, makes the load wait (docs/decisions/0007).
 */
export const allocatePages = (bytes: number): SharedBytes => {
  const memory = new SharedArrayBuffer(bytes + PAGE_BYTES);
  const behind = native.address(new Uint8Array(memory)) % PAGE_BYTES;
  return { memory, start: (PAGE_BYTES - behind) % PAGE_BYTES };
};

/** A buffer of so many bytes that begins on a page boundary. */
export const pageBuffer = (bytes: number): Buffer => {
  const { memory, start } = allocatePages(bytes);
  return Buffer.from(memory, start, bytes);
};

/** Which boot of the machine this is, as the kernel names it. */
export const bootId = (): string =>
  fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/**
 * Which file or device is open, whatever its path. Inode numbers are used again, so a file's birth counts too; device
 * numbers are given anew at each boot.
 */
export const fileIdentity = (fd: number): string => {
  const stat = fs.fstatSync(fd, { bigint: true });
  return stat.isFile()
    ? `file ${stat.dev}:${stat.ino}:${stat.birthtimeNs}`
    : `device ${stat.rdev} of boot ${bootId()}`;
};

const seek = (fd: number, offset: number, whence: number): number =>
  native.call(native.SYS_lseek, fd, offset, whence);

/** The length of a file or block device by seeking to its end, in bytes; negative if it cannot seek. */
export const seekEnd = (fd: number): number => seek(fd, 0, SEEK_END);

/**
 * What of some ranges, in ascending order, the file system holds data for. Holes read as zeros. A file system or device
 * that knows no holes gives all of them. It is asked once about each of its own ranges, not of those given: looking for the
 * end of one can take long.
 */
export function* dataWithin(fd: number, within: Iterable<Extent>): Generator<Extent> {
  /** Data that was found; between what was looked at before and its start is a hole. */
  let known: Extent = { start: 0, end: 0 };
  for (const { start: first, end: last } of within) {
    let at = first;
    while (at < last) {
      if (at >= known.end) {
        const start = seek(fd, at, SEEK_DATA);
        if (start === -ENXIO) return;
        const hole = start < 0 ? start : seek(fd, start, SEEK_HOLE);
        // Some character devices answer every seek with 0: without progress, the rest is data.
        known = start >= at && hole > start ? { start, end: hole } : { start: at, end: last };
      }
      const start = Math.max(at, known.start);
      const end = Math.min(known.end, last);
      if (start < end) yield { start, end };
      at = end > start ? end : last;
    }
  }
}

/** What of one range the file system holds data for. */
export const dataExtents = (fd: number, range: Extent): Generator<Extent> =>
  dataWithin(fd, [range]);

/** Waits up to `timeoutMs` for one of the events (ppoll(2)). */
const poll = (fd: number, events: number, timeoutMs: number): boolean => {
  // A pollfd and a timespec, one behind the other.
  const memory = Buffer.alloc(24);
  memory.writeInt32LE(fd, 0);
  memory.writeInt16LE(events, 4);
  memory.writeBigInt64LE(BigInt(Math.floor(timeoutMs / 1000)), 8);
  memory.writeBigInt64LE(BigInt((timeoutMs % 1000) * 1e6), 16);
  return native.call(native.SYS_ppoll, memory, 1, memory.subarray(8), 0, 0) > 0;
};

/** Waits up to `timeoutMs` for `fd` to have input (or its end). */
export const waitReadable = (fd: number, timeoutMs: number): boolean => poll(fd, POLLIN, timeoutMs);

/** Waits up to `timeoutMs` until `fd` takes output (or nobody reads it any more). */
export const waitWritable = (fd: number, timeoutMs: number): boolean =>
  poll(fd, POLLOUT, timeoutMs);

/** Where in a struct flock what is. */
const LOCK_BYTES = 32;
const LOCK_START = 8;
const LOCK_LENGTH = 16;

/** A struct flock about one byte. */
const lockOf = (type: number, position: number): Buffer => {
  const lock = Buffer.alloc(LOCK_BYTES);
  lock.writeInt16LE(type, 0);
  lock.writeBigInt64LE(BigInt(position), LOCK_START);
  lock.writeBigInt64LE(1n, LOCK_LENGTH);
  return lock;
};

/**
 * Takes a lock on one byte of an open file, for this open file description: it is given up when the
 * descriptor is closed or the process dies. Exclusive, or shared with others that are. False when somebody
 * else holds one that excludes it. Throws the system's error where there are no locks.
 */
export const tryLockByte = (fd: number, position: number, shared = false): boolean => {
  const lock = lockOf(shared ? F_RDLCK : F_WRLCK, position);
  const got = native.call(native.SYS_fcntl, fd, F_OFD_SETLK, lock);
  if (got === 0) return true;
  const error = errorOf('fcntl', got);
  if (HELD.has(errnoOf(error))) return false;
  throw error;
};

/** True when somebody else holds any lock on a byte of an open file. */
export const isByteLocked = (fd: number, position: number): boolean => {
  const lock = lockOf(F_WRLCK, position);
  const got = native.call(native.SYS_fcntl, fd, F_OFD_GETLK, lock);
  return got === 0 && lock.readInt16LE(0) !== F_UNLCK;
};

/** Gives a range's blocks back to the file system; it then reads as zeros. False if not possible. */
export const punchHole = (fd: number, { start, end }: Extent): boolean =>
  native.call(native.SYS_fallocate, fd, FALLOC_KEEP_SIZE_PUNCH_HOLE, start, end - start) === 0;

/**
 * Asks the system to begin to bring to the disk what was written to a range of a file. It promises nothing, and tells of no
 * error: a sync does, and then has less to wait for.
 */
export const beginWriteback = (fd: number, { start, end }: Extent): void => {
  native.call(native.SYS_sync_file_range, fd, start, end - start, SYNC_FILE_RANGE_WRITE);
};

/**
 * Lets the system forget what it has cached of a file, but for what is not on the disk yet: so the disk is read next. Does
 * not wait for a pipe's other end. Throws the system's error where it cannot be opened.
 */
export const forgetCached = (path: string): void => {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  native.call(native.SYS_fadvise64, fd, 0, 0, POSIX_FADV_DONTNEED);
  fs.closeSync(fd);
};

/**
 * Opens a new file without a name in a folder (open(2), O_TMPFILE), for reading and writing: whatever
 * ends the process, nothing is left of it. Throws the system's error.
 */
export const createNameless = (folder: string, mode?: number): number =>
  fs.openSync(folder, O_TMPFILE | fs.constants.O_RDWR, mode);

/** The same, and undefined where that is not possible. */
export const openNameless = (folder: string, mode?: number): number | undefined => {
  try {
    return createNameless(folder, mode);
  } catch {
    return undefined;
  }
};

/** Memory that a file, or nothing, is mapped to. */
export interface Mapping {
  /** Address of the first byte. */
  readonly address: number;
  /** In bytes. */
  readonly length: number;
}

/** Maps `length` bytes of an open file, shared and for reading and writing; throws what the system says. */
export const mapShared = (fd: number, offset: number, length: number): Mapping => {
  const protection = PROT_READ | PROT_WRITE;
  const address = native.call(native.SYS_mmap, 0, length, protection, MAP_SHARED, fd, offset);
  if (address < 0) throw errorOf('mmap', address);
  return { address, length };
};

/** Ends a mapping. */
export const unmap = ({ address, length }: Mapping): void => {
  native.call(native.SYS_munmap, address, length);
};

/** Stores bytes into a mapping, from byte `at` of it on. */
export const storeInto = (mapping: Mapping, at: number, bytes: Uint8Array): void => {
  if (at < 0 || at + bytes.length > mapping.length) throw new RangeError('outside the mapping');
  native.store(mapping.address + at, bytes);
};

/**
 * Attaches to a thread without stopping it (ptrace(2), PTRACE_SEIZE); the kernel lets it go when the calling
 * thread ends, however that ends. 0, or the errno. All calls about it must come from the same thread.
 */
export const seizeThread = (thread: number): number =>
  Math.abs(native.call(native.SYS_ptrace, PTRACE_SEIZE, thread, 0, 0));

/** Asks an attached thread to stop. */
export const interruptThread = (thread: number): void => {
  native.call(native.SYS_ptrace, PTRACE_INTERRUPT, thread, 0, 0);
};

/** What has become of an attached thread; a signal is one that it stopped for and has yet to get. */
export type ThreadState =
  | { readonly kind: 'running' }
  | { readonly kind: 'stopped'; readonly signal: number }
  | { readonly kind: 'gone' };

/** Looks at an attached thread without waiting for it. */
export const threadState = (thread: number): ThreadState => {
  const status = Buffer.alloc(4);
  const got = native.call(native.SYS_wait4, thread, status, WALL | WNOHANG, 0);
  if (got === 0) return { kind: 'running' };
  const word = status.readInt32LE(0);
  if (got < 0 || (word & 0xff) !== STOPPED) return { kind: 'gone' };
  // An event's number is above the signal's, and then there is no signal to be handed on.
  return { kind: 'stopped', signal: word >> 16 === 0 ? word >> 8 : 0 };
};

/** Lets a stopped thread go on, with the signal that it stopped for. */
export const releaseThread = (thread: number, signal: number): void => {
  native.call(native.SYS_ptrace, PTRACE_DETACH, thread, 0, signal);
};

/** A path as the system wants it. */
const pathBytes = (path: string): Buffer => Buffer.from(`${path}\0`);

/** Gives such a file its name, if nothing has that name yet. False if not possible. */
export const giveName = (fd: number, path: string): boolean => {
  const from = pathBytes(`/proc/self/fd/${fd}`);
  const to = pathBytes(path);
  return native.call(native.SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) === 0;
};

/** Renames a file that cannot be linked to, if nothing has the new name. */
const renameToFree = (from: string, to: string): void => {
  const [old, next] = [pathBytes(from), pathBytes(to)];
  const got = native.call(native.SYS_renameat2, AT_FDCWD, old, AT_FDCWD, next, RENAME_NOREPLACE);
  if (got === 0) return;
  const error = errorOf('rename', got);
  if (!NOT_THERE.has(errnoOf(error))) throw error;
  // Whoever makes the name has it; a kill in just this moment leaves an empty file there.
  fs.closeSync(fs.openSync(to, 'wx'));
  try {
    fs.renameSync(from, to);
  } catch (failure) {
    fs.rmSync(to, { force: true });
    throw failure;
  }
};

/** Gives a file another name, if nothing has that name yet. Throws the system's error: EEXIST where something has it. */
export const moveToFree = (from: string, to: string): void => {
  try {
    fs.linkSync(from, to);
  } catch (error) {
    // Of an error that has another reason the renaming tells.
    if (!NOT_THERE.has(errnoOf(error))) throw error;
    renameToFree(from, to);
    return;
  }
  fs.unlinkSync(from);
};
