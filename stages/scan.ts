// scan: reads a batch's part of the image straight into its slab.

import fs from 'node:fs';
import { errnoOf, fault, ioFault, waitReadable } from '../disk/index.js';
import { type Batch, type Desk, type StageThread, stage } from '../pipeline/index.js';

export interface ScanOptions {
  readonly path: string;
  readonly fd: number;
  /** Size of the image in bytes, as it was when the run began. */
  readonly size: number;
  /** False for a pipe: batches are then read one after another, on one thread. */
  readonly seekable: boolean;
}

/** How long one wait for a slow pipe lasts before cancellation is looked at, in milliseconds. */
const PIPE_WAIT_MS = 100;

/** Reads at a position; short only when the image ends. */
const readAt = (fd: number, into: Buffer, position: number): number => {
  let done = 0;
  while (done < into.length) {
    const got = fs.readSync(fd, into, done, into.length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
};

/** Reads what comes next from a pipe; short only when it ends or the run was cancelled. */
const readPipe = (fd: number, into: Buffer, desk: Desk): number => {
  let done = 0;
  while (done < into.length && !desk.cancelled()) {
    if (!waitReadable(fd, PIPE_WAIT_MS)) continue;
    try {
      const got = fs.readSync(fd, into, done, into.length - done, null);
      if (got === 0) break;
      done += got;
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN') throw error;
    }
  }
  return done;
};

/** True when a pipe has nothing more to give. */
const pipeEnded = (fd: number, desk: Desk): boolean => readPipe(fd, Buffer.alloc(1), desk) === 0;

const open = ({ path, fd, size, seekable }: ScanOptions, desk: Desk): StageThread => ({
  batch(batch: Batch): void {
    const into = batch.data.subarray(0, batch.length);
    let got: number;
    try {
      got = seekable ? readAt(fd, into, batch.offset) : readPipe(fd, into, desk);
    } catch (error) {
      throw ioFault(error, path, 'read');
    }
    if (desk.cancelled()) return;
    if (got < into.length) {
      if (!seekable) throw fault('input-short', { expected: size, got: batch.offset + got });
      throw fault('image-shrank', { path, expected: size, got: batch.offset + got });
    }
    if (!seekable && batch.offset + got === size && !pipeEnded(fd, desk)) {
      throw fault('input-long', { expected: size });
    }
  },
});

export default stage({ name: 'scan', open });
