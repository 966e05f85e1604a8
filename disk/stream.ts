// Writing to something that takes bytes only in order: a pipe, a socket, a terminal, or a file as if it were one.

import fs from 'node:fs';
import { errnoOf, ioFault } from './faults.js';
import { waitWritable } from './os.js';

/** How long one wait for a slow reader lasts, in milliseconds. */
const WAIT_MS = 100;

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

/** Bytes go out one after another, through a descriptor that any thread may hold. */
export class OutStream {
  readonly #fd: number;
  readonly #name: string;
  readonly #cancelled: () => boolean;

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
      if (!waitWritable(this.#fd, WAIT_MS)) continue;
      try {
        done += fs.writeSync(this.#fd, from, done, from.length - done, null);
      } catch (error) {
        if (errnoOf(error) !== 'EAGAIN') throw ioFault(error, this.#name, 'write');
      }
    }
  }

  /** Writes so many zeros. */
  zeros(length: number): void {
    for (let done = 0; done < length && !this.#cancelled(); done += ZEROS.length) {
      this.write(ZEROS.subarray(0, Math.min(ZEROS.length, length - done)));
    }
  }
}
