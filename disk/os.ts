// The system calls Node has no name for, through koffi. Each is bound on first use, so a command
// that needs none of them does not pay for loading.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import { getSystemErrorMap } from 'node:util';
import type { Extent } from './extents.js';

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
const FALLOC_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02;
const O_TMPFILE = 0o20000000 | fs.constants.O_DIRECTORY;
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;

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

type Call<Args extends unknown[], Result> = (...args: Args) => Result;

interface Lock {
  readonly type: number;
  readonly whence: number;
  readonly start: number;
  readonly length: number;
  readonly pid: number;
}

interface PollFd {
  readonly fd: number;
  readonly events: number;
  readonly revents: number;
}

interface Libc {
  readonly lseek: Call<[fd: number, offset: number, whence: number], number | bigint>;
  readonly poll: Call<[fds: PollFd[], count: number, timeoutMs: number], number>;
  readonly fcntl: Call<[fd: number, command: number, lock: Lock], number>;
  readonly fallocate: Call<[fd: number, mode: number, offset: number, length: number], number>;
  readonly linkat: Call<
    [fromFolder: number, from: string, toFolder: number, to: string, flags: number],
    number
  >;
  readonly ioctl: Call<[fd: number, request: number, memory: Uint8Array], number>;
  readonly ioctlNumber: Call<[fd: number, request: number, argument: number], number>;
  readonly mmap: Call<
    [at: number, length: number, protection: number, flags: number, fd: number, offset: number],
    number | bigint
  >;
  readonly munmap: Call<[at: number, length: number], number>;
  readonly memcpy: Call<[at: number, from: Uint8Array, length: number], number | bigint>;
  readonly ptrace: Call<[request: number, thread: number, address: number, data: number], number>;
  readonly waitpid: Call<[thread: number, status: Int32Array, options: number], number>;
  readonly errno: Call<[], number>;
  readonly address: Call<[memory: Uint8Array], bigint>;
}

let bound: Libc | undefined;

/** Loads koffi and binds the calls; once per thread, and only where one is needed. */
const bind = (): Libc => {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const c = koffi.load(null);
  koffi.struct('nv_pollfd', { fd: 'int', events: 'short', revents: 'short' });
  koffi.struct('nv_flock', {
    type: 'short',
    whence: 'short',
    start: 'int64_t',
    length: 'int64_t',
    pid: 'int32_t',
  });
  return {
    lseek: c.func('int64_t lseek(int fd, int64_t offset, int whence)') as Libc['lseek'],
    poll: c.func(
      'int poll(_Inout_ nv_pollfd *fds, unsigned long n, int timeoutMs)',
    ) as Libc['poll'],
    fcntl: c.func('int fcntl(int fd, int command, _Inout_ nv_flock *lock)') as Libc['fcntl'],
    fallocate: c.func(
      'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
    ) as Libc['fallocate'],
    linkat: c.func(
      'int linkat(int fromFolder, const char *from, int toFolder, const char *to, int flags)',
    ) as Libc['linkat'],
    ioctl: c.func('int ioctl(int fd, unsigned long request, void *memory)') as Libc['ioctl'],
    ioctlNumber: c.func(
      'int ioctl(int fd, unsigned long request, long argument)',
    ) as Libc['ioctlNumber'],
    mmap: c.func(
      'int64_t mmap(uintptr_t at, size_t length, int protection, int flags, int fd, int64_t offset)',
    ) as Libc['mmap'],
    munmap: c.func('int munmap(uintptr_t at, size_t length)') as Libc['munmap'],
    memcpy: c.func(
      'uintptr_t memcpy(uintptr_t at, const uint8_t *from, size_t length)',
    ) as Libc['memcpy'],
    ptrace: c.func(
      'int64_t ptrace(long request, int thread, uintptr_t address, uintptr_t data)',
    ) as Libc['ptrace'],
    waitpid: c.func('int waitpid(int thread, int *status, int options)') as Libc['waitpid'],
    errno: () => koffi.errno(),
    address: (memory) => koffi.address(memory),
  };
};

const libc = (): Libc => {
  bound ??= bind();
  return bound;
};

/** The error that the last call has left, as Node words those of its own calls. */
const lastError = (call: string): Error => {
  const errno = libc().errno();
  const [code, reason] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, 'unknown error'];
  return Object.assign(new Error(`${code}: ${reason}, ${call}`), { code });
};

/** ioctl(2) with a structure, which the call may change. Throws the system's error. */
export const ioctl = (fd: number, request: number, memory: Uint8Array): void => {
  if (libc().ioctl(fd, request, memory) < 0) throw lastError('ioctl');
};

/** ioctl(2) with a number. Throws the system's error. */
export const ioctlNumber = (fd: number, request: number, argument: number): void => {
  if (libc().ioctlNumber(fd, request, argument) < 0) throw lastError('ioctl');
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
  const behind = Number(libc().address(new Uint8Array(memory)) % BigInt(PAGE_BYTES));
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

/** The length of a file or block device by seeking to its end, in bytes; -1 if it cannot seek. */
export const seekEnd = (fd: number): number => Number(libc().lseek(fd, 0, SEEK_END));

/**
 * The ranges of [start, end) that the file system holds data for. Holes read as zeros. A file system
 * or device that knows no holes gives one extent: everything.
 */
export function* dataExtents(fd: number, { start: first, end: last }: Extent): Generator<Extent> {
  let at = first;
  while (at < last) {
    const start = Number(libc().lseek(fd, at, SEEK_DATA));
    if (start < 0) {
      if (libc().errno() === ENXIO) return;
      yield { start: at, end: last };
      return;
    }
    if (start >= last) return;
    const hole = Number(libc().lseek(fd, start, SEEK_HOLE));
    // Some character devices answer every seek with 0: without progress, the rest is data.
    const end = hole <= start ? last : Math.min(hole, last);
    yield { start: Math.max(start, at), end };
    at = end;
  }
}

/** Waits up to `timeoutMs` for `fd` to have input (or its end). */
export const waitReadable = (fd: number, timeoutMs: number): boolean =>
  libc().poll([{ fd, events: POLLIN, revents: 0 }], 1, timeoutMs) > 0;

/** Waits up to `timeoutMs` until `fd` takes output (or nobody reads it any more). */
export const waitWritable = (fd: number, timeoutMs: number): boolean =>
  libc().poll([{ fd, events: POLLOUT, revents: 0 }], 1, timeoutMs) > 0;

const lockOf = (type: number, position: number) => ({
  type,
  whence: 0,
  start: position,
  length: 1,
  pid: 0,
});

/**
 * Takes a lock on one byte of an open file, for this open file description: it is given up when the
 * descriptor is closed or the process dies. Exclusive, or shared with others that are. False when somebody
 * else holds one that excludes it.
 */
export const tryLockByte = (fd: number, position: number, shared = false): boolean =>
  libc().fcntl(fd, F_OFD_SETLK, lockOf(shared ? F_RDLCK : F_WRLCK, position)) === 0;

/** True when somebody else holds any lock on a byte of an open file. */
export const isByteLocked = (fd: number, position: number): boolean => {
  const lock = lockOf(F_WRLCK, position);
  return libc().fcntl(fd, F_OFD_GETLK, lock) === 0 && lock.type !== F_UNLCK;
};

/** Gives a range's blocks back to the file system; it then reads as zeros. False if not possible. */
export const punchHole = (fd: number, extent: Extent): boolean =>
  libc().fallocate(fd, FALLOC_KEEP_SIZE_PUNCH_HOLE, extent.start, extent.end - extent.start) === 0;

/**
 * Opens a new file without a name in a folder (open(2), O_TMPFILE), for reading and writing: whatever
 * ends the process, nothing is left of it. Throws the system's error.
 */
export const createNameless = (folder: string, mode?: number): number =>
  fs.openSync(folder, O_TMPFILE | fs.constants.O_RDWR, mode);

/** The same, and undefined where that is not possible. */
export const openNameless = (folder: string): number | undefined => {
  try {
    return createNameless(folder);
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
  const address = Number(libc().mmap(0, length, protection, MAP_SHARED, fd, offset));
  if (address === -1) throw new Error(`mmap failed with errno ${libc().errno()}`);
  return { address, length };
};

/** Ends a mapping. */
export const unmap = ({ address, length }: Mapping): void => {
  libc().munmap(address, length);
};

/** Stores bytes into a mapping, from byte `at` of it on. */
export const storeInto = (mapping: Mapping, at: number, bytes: Uint8Array): void => {
  if (at < 0 || at + bytes.length > mapping.length) throw new RangeError('outside the mapping');
  libc().memcpy(mapping.address + at, bytes, bytes.length);
};

/**
 * Attaches to a thread without stopping it (ptrace(2), PTRACE_SEIZE); the kernel lets it go when the calling
 * thread ends, however that ends. 0, or the errno. All calls about it must come from the same thread.
 */
export const seizeThread = (thread: number): number =>
  libc().ptrace(PTRACE_SEIZE, thread, 0, 0) === 0 ? 0 : libc().errno();

/** Asks an attached thread to stop. */
export const interruptThread = (thread: number): void => {
  libc().ptrace(PTRACE_INTERRUPT, thread, 0, 0);
};

/** What has become of an attached thread; a signal is one that it stopped for and has yet to get. */
export type ThreadState =
  | { readonly kind: 'running' }
  | { readonly kind: 'stopped'; readonly signal: number }
  | { readonly kind: 'gone' };

/** Looks at an attached thread without waiting for it. */
export const threadState = (thread: number): ThreadState => {
  const status = new Int32Array(1);
  const got = libc().waitpid(thread, status, WALL | WNOHANG);
  if (got === 0) return { kind: 'running' };
  const word = status[0] as number;
  if (got < 0 || (word & 0xff) !== STOPPED) return { kind: 'gone' };
  // An event's number is above the signal's, and then there is no signal to be handed on.
  return { kind: 'stopped', signal: word >> 16 === 0 ? word >> 8 : 0 };
};

/** Lets a stopped thread go on, with the signal that it stopped for. */
export const releaseThread = (thread: number, signal: number): void => {
  libc().ptrace(PTRACE_DETACH, thread, 0, signal);
};

/** Gives such a file its name, if nothing has that name yet. False if not possible. */
export const giveName = (fd: number, path: string): boolean =>
  libc().linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW) === 0;
