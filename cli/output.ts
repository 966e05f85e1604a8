// Standard output and standard error as results go there. What cannot be written is no result: a full disk is
// remembered until the command ends, which then says so. A reader that goes away early has what it wanted.

import fs from 'node:fs';
import { isatty } from 'node:tty';
import { errnoOf } from '../disk/index.js';

const STDOUT = 1;
const STDERR = 2;

/** True where the system keeps a writer waiting until all is written, and then says whether it is. */
const isFile = (fd: number): boolean => {
  const stat = fs.fstatSync(fd);
  return stat.isFile() || (stat.isCharacterDevice() && !isatty(fd));
};

const writeAll = (fd: number, bytes: Buffer): void => {
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at);
};

export class Output {
  readonly #fd: number;
  readonly #stream: () => NodeJS.WriteStream;
  /** What the first failed write failed with. */
  #error: unknown;
  #listens = false;
  /** Resolves when all that was written has arrived, or never will. */
  #arrived: Promise<void> = Promise.resolve();

  constructor(fd: number, stream: () => NodeJS.WriteStream) {
    this.#fd = fd;
    this.#stream = stream;
  }

  /** Never throws; whether all has arrived says `lost`. */
  write(text: string): void {
    if (this.#error !== undefined) return;
    try {
      if (isFile(this.#fd)) writeAll(this.#fd, Buffer.from(text));
      else this.#send(text);
    } catch (error) {
      this.#error = error;
    }
  }

  #send(text: string): void {
    const stream = this.#stream();
    // What the callback hears, too; without a listener it would end the program.
    if (!this.#listens) stream.on('error', () => {});
    this.#listens = true;
    this.#arrived = new Promise((resolve) => {
      stream.write(text, (error) => {
        this.#error ??= error ?? undefined;
        resolve();
      });
    });
  }

  /**
   * Waits until a reader that is slower than we are has all of it, or has gone away. Resolves to the system's error
   * when something could not be written though it was wanted.
   */
  async lost(): Promise<unknown> {
    await this.#arrived;
    return errnoOf(this.#error) === 'EPIPE' ? undefined : this.#error;
  }
}

export const standardOutput = new Output(STDOUT, () => process.stdout);
export const standardError = new Output(STDERR, () => process.stderr);
