// The system calls Node has no name for, through koffi. Each is bound on first use, so a command
// that needs none of them does not pay for loading.

import koffi from 'koffi';
import type { Extent } from './extents.js';

const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;
const POLLIN = 1;
const F_OFD_SETLK = 37;
const F_WRLCK = 1;
const FALLOC_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02;

const libc = koffi.load(null);
const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const PollFd = koffi.struct('pollfd', { fd: 'int', events: 'short', revents: 'short' });
const poll = libc.func('int poll(_Inout_ pollfd *fds, unsigned long n, int timeoutMs)');
const Flock = koffi.struct('flock64', {
  type: 'short',
  whence: 'short',
  start: 'int64_t',
  length: 'int64_t',
  pid: 'int32_t',
});
const fcntl = libc.func('int fcntl(int fd, int command, _Inout_ flock64 *lock)');
const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
void PollFd;
void Flock;

/** The length of a file or block device by seeking to its end, in bytes; -1 if it cannot seek. */
export const seekEnd = (fd: number): number => Number(lseek(fd, 0, SEEK_END));

/**
 * The ranges of [0, size) that the file system holds data for. Holes read as zeros. A file system
 * or device that knows no holes gives one extent: everything.
 */
export function* dataExtents(fd: number, size: number): Generator<Extent> {
  let at = 0;
  while (at < size) {
    const start = Number(lseek(fd, at, SEEK_DATA));
    if (start < 0) {
      if (koffi.errno() === ENXIO) return;
      yield { start: at, end: size };
      return;
    }
    if (start >= size) return;
    const hole = Number(lseek(fd, start, SEEK_HOLE));
    const end = hole < 0 ? size : Math.min(hole, size);
    yield { start, end };
    at = end;
  }
}

/** Waits up to `timeoutMs` for `fd` to have input (or its end). */
export const waitReadable = (fd: number, timeoutMs: number): boolean =>
  poll([{ fd, events: POLLIN, revents: 0 }] as never, 1, timeoutMs) > 0;

/**
 * Takes an exclusive lock on one byte of an open file, for this open file description: it is given
 * up when the descriptor is closed or the process dies. False when somebody else holds it.
 */
export const tryLockByte = (fd: number, position: number): boolean =>
  fcntl(fd, F_OFD_SETLK, { type: F_WRLCK, whence: 0, start: position, length: 1, pid: 0 }) === 0;

/** Gives a range's blocks back to the file system; it then reads as zeros. False if not possible. */
export const punchHole = (fd: number, extent: Extent): boolean =>
  fallocate(fd, FALLOC_KEEP_SIZE_PUNCH_HOLE, extent.start, extent.end - extent.start) === 0;
