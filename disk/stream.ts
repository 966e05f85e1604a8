// Writing to something that takes bytes only in order: a pipe, a socket, a terminal, or a file as if it were one.

import fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { errnoOf, ioFault } from './faults.js';
import { attachFile } from './file.js';
import { waitWritable } from './os.js';

/** How long one wait for a slow reader lasts, in milliseconds. */
const WAIT_MS = 100;
/** The same on the main thread, and how much is written before others have their turn. */
const GENTLE_WAIT_MS = 5;
const GENTLE_BYTES = 1024 * 1024;

const ZEROS = Buffer.alloc(1024 * 1024);

/**
 * A descriptor for writing to a pipe that never waits: of its own, so that nobody who shares the other one notices.
 * What is not a pipe gives the same descriptor back.
 */
export const openForStream = (fd: number): number => {
  if (!fs.fstatSync(fd).isFIFO()) return fd;
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  } catch {
    return fd;
  }
};

/** Closes what `openForStream(fd)` gave, if it is a descriptor of its own. */
export const closeForStream = (stream: number, fd: number): void => {
  if (stream !== fd) fs.closeSync(stream);
};

/** Resolves when what went to a file or a block device is on the disk; at once where there is no disk. */
export const settleStream = async (fd: number, name: string): Promise<void> => {
  const stat = fs.fstatSync(fd);
  if (stat.isFile() || stat.isBlockDevice()) await attachFile({ path: name, fd }).sync();
};

/** Bytes go out one after another, through a descriptor that any thread may hold. */
export class OutStream {
  readonly #fd: number;
  readonly #name: string;
  readonly #cancelled: () => boolean;
  #sinceTurn = 0;

  /** `name` is for people; once `cancelled` says yes, nobody waits for the reader any more. */
  constructor(fd: number, name: string, cancelled: () => boolean) {
    this.#fd = fd;
    this.#name = name;
    this.#cancelled = cancelled;
  }

  /** Writes all of `from`, unless cancelled meanwhile. */
  write(from: Uint8Array): void {
    let done = 0;
    while (done < from.length && !this.#cancelled()) {
      if (waitWritable(this.#fd, WAIT_MS)) done += this.#some(from.subarray(done));
    }
  }

  /** The same from the main thread: between two looks the event loop gets its turn. */
  async writeGently(from: Uint8Array): Promise<void> {
    let done = 0;
    while (done < from.length && !this.#cancelled()) {
      if (waitWritable(this.#fd, GENTLE_WAIT_MS)) done += this.#some(from.subarray(done));
      else await turn();
    }
    this.#sinceTurn += done;
    if (this.#sinceTurn < GENTLE_BYTES) return;
    this.#sinceTurn = 0;
    await turn();
  }

  /** Writes as much as is taken at once; returns how many bytes. */
  #some(from: Uint8Array): number {
    try {
      return fs.writeSync(this.#fd, from, 0, from.length, null);
    } catch (error) {
      if (errnoOf(error) === 'EAGAIN') return 0;
      throw ioFault(error, this.#name, 'write');
    }
  }

  /** Writes so many zeros. */
  zeros(length: number): void {
    for (let done = 0; done < length && !this.#cancelled(); done += ZEROS.length) {
      this.write(ZEROS.subarray(0, Math.min(ZEROS.length, length - done)));
    }
  }
}
