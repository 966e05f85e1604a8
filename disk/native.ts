// What is compiled for the machine: system calls that Node has no name for, and reading and digesting many clusters in one
// call. The sources are in the folder of this name, and binding.gyp says how npm compiles them.

import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** An argument of a system call: a number, or the memory it points to. */
type Argument = number | Uint8Array;

interface Native {
  /** What the call returns, or the negated errno. */
  call(number: number, ...args: readonly Argument[]): number;
  /** Where memory is. */
  address(memory: Uint8Array): number;
  /** Writes bytes to an address that the caller has mapped. */
  store(address: number, bytes: Uint8Array): void;
  /** Writes the 16-byte XXH3-128 digest of `data`, with an 8-byte seed, into `into` at byte `at`. */
  digest(seed: Uint8Array, data: Uint8Array, into: Uint8Array, at: number): void;
  /**
   * Writes 16 bytes for every `size` bytes of `data`, one after another from byte `at` of `into` on: the digest,
   * or zeros where all are zero.
   */
  fingerprints(
    seed: Uint8Array,
    data: Uint8Array,
    size: number,
    into: Uint8Array,
    at: number,
  ): void;
  /**
   * Reads `length` bytes of a file from `offset` on, as much at a time as `piece` holds, and puts the fingerprints to byte
   * `at` of `into` and on. Ends behind the first piece whose fingerprints are not those at the same place of `known`, and
   * before one that the file does not have whole. Returns the bytes gone through, or the negated errno.
   */
  scan(
    seed: Uint8Array,
    fd: number,
    offset: number,
    length: number,
    piece: Uint8Array,
    size: number,
    known: Uint8Array,
    into: Uint8Array,
    at: number,
  ): number;

  // The numbers of calls.
  readonly SYS_fadvise64: number;
  readonly SYS_fallocate: number;
  readonly SYS_fcntl: number;
  readonly SYS_ioctl: number;
  readonly SYS_linkat: number;
  readonly SYS_lseek: number;
  readonly SYS_mmap: number;
  readonly SYS_munmap: number;
  readonly SYS_ppoll: number;
  readonly SYS_ptrace: number;
  readonly SYS_renameat2: number;
  readonly SYS_sync_file_range: number;
  readonly SYS_wait4: number;
}

/** The code of the error that says that there is nothing compiled. */
const NOT_COMPILED = 'NVSNAP_NOT_COMPILED';

/** npm compiles it, unless it was told to run no scripts. */
const load = (): Native => {
  try {
    // As far from the folder of this module as from that of the bundle.
    return createRequire(import.meta.url)('../../build/Release/nvsnap.node') as Native;
  } catch (cause) {
    const advice = '"npm rebuild nvsnap" does it, with a C++ compiler, make and python3';
    const reason = (cause as Error).message.split('\n')[0];
    const message = `What nvsnap has in C cannot be loaded: ${advice}. (${reason})`;
    throw Object.assign(new Error(message, { cause }), { code: NOT_COMPILED });
  }
};

export const native = load();

export const DIGEST_BYTES = 16;
const NO_SEED = new Uint8Array(8);

/** XXH3-128 with seed 0, for what no store's seed belongs to: 16 bytes in memory of their own. */
export const shortHash = (data: Uint8Array): Uint8Array => {
  const hash = new Uint8Array(DIGEST_BYTES);
  native.digest(NO_SEED, data, hash, 0);
  return hash;
};

/** What Node has no words for: its name, if it has one, instead of them. */
const unknown = (errno: number): readonly [code: string, reason: string] => {
  const name = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
  return [name ?? `E${errno}`, name ?? `error ${errno}`];
};

/** The error that a call has returned, as Node words those of its own calls. */
export const errorOf = (call: string, returned: number): Error => {
  const [code, reason] = getSystemErrorMap().get(returned) ?? unknown(-returned);
  return Object.assign(new Error(`${code}: ${reason}, ${call}`), { code });
};
