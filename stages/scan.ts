// scan: reads a batch's part of the image, a piece at a time, and takes each piece's fingerprints before
// the next one pushes it out of the processor's cache. Where there is a parent, a piece that is equal
// to it never leaves that cache: only changed clusters are copied to where they belong.

import fs from 'node:fs';
import {
  attachFile,
  DIGEST_BYTES,
  errnoOf,
  type Fault,
  fault,
  ioFault,
  waitReadable,
} from '../disk/index.js';
import { type Batch, type Desk, type StageThread, stage } from '../pipeline/index.js';
import { type DigestOptions, openFingerprint } from './fingerprint.js';

export interface ScanOptions {
  readonly path: string;
  readonly fd: number;
  /** Size of the image in bytes, as it was when the run began. */
  readonly size: number;
  /** False for a pipe: batches are then read one after another, on one thread. */
  readonly seekable: boolean;
  readonly digests: DigestOptions;
  /** True when what is equal to the parent is not wanted. */
  readonly dependent: boolean;
}

/** What one core's caches hold, and enough for the calls per piece not to count. */
const PIECE_BYTES = 512 * 1024;

/** How long one wait for a slow pipe lasts before cancellation is looked at, in milliseconds. */
const PIPE_WAIT_MS = 100;

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

/** Says why a batch could not be filled: the image has become shorter, or the pipe has ended. */
const shortFault = ({ path, size, seekable }: ScanOptions, got: number): Fault =>
  seekable
    ? fault('image-shrank', { path, expected: size, got })
    : fault('input-short', { expected: size, got });

const open = (options: ScanOptions, desk: Desk): StageThread => {
  const { path, fd, size, seekable, dependent } = options;
  const { clusterSize } = desk;
  const file = attachFile({ path, fd });
  const fingerprint = openFingerprint(options.digests, clusterSize);
  /** Clusters of a piece. */
  const step = Math.max(1, Math.floor(PIECE_BYTES / clusterSize));

  /** Reads image bytes from `offset` on; false when the run was cancelled meanwhile. */
  const fill = (into: Buffer, offset: number): boolean => {
    let got: number;
    try {
      got = seekable ? file.read(into, offset) : readPipe(fd, into, desk);
    } catch (error) {
      throw ioFault(error, path, 'read');
    }
    if (desk.cancelled()) return false;
    if (got < into.length) throw shortFault(options, offset + got);
    return true;
  };

  /** Digests clusters [first, end) of the batch, of which the content lies where cluster `place` belongs. */
  const digest = (batch: Batch, first: number, end: number, place: number): void => {
    const { digests } = batch;
    let at = first * DIGEST_BYTES;
    for (let i = place; i < place + end - first; i += 1) {
      fingerprint(batch.cluster(i), digests, at);
      at += DIGEST_BYTES;
    }
    // The short tail of an image was taken for a whole cluster above.
    const tail = batch.lengthOf(end - 1);
    if (tail < clusterSize) {
      const content = batch.cluster(place + end - 1 - first).subarray(0, tail);
      fingerprint(content, digests, at - DIGEST_BYTES);
    }
  };

  /** Copies those of clusters [first, end) that are not the parent's from `place` to where they belong. */
  const keep = (batch: Batch, first: number, end: number, place: number): void => {
    if (batch.isKnown(first, end)) return;
    for (let i = first; i < end; i += 1) {
      if (batch.isKnown(i, i + 1)) continue;
      batch.cluster(place + i - first).copy(batch.cluster(i));
    }
  };

  return {
    batch(batch: Batch): void {
      const { count } = batch;
      // With a parent all pieces are read to where the last one belongs, so that this place stays cached.
      const last = Math.max(0, count - step);
      for (let first = 0, end = count % step || step; first < count; first = end, end += step) {
        const place = dependent ? last : first;
        const from = first * clusterSize;
        const length = Math.min(end * clusterSize, batch.length) - from;
        const at = place * clusterSize;
        const bytes = batch.data.subarray(at, at + length);
        if (!fill(bytes, batch.offset + from)) return;
        digest(batch, first, end, place);
        if (place !== first) keep(batch, first, end, place);
      }
      batch.digested = true;
      if (!seekable && batch.offset + batch.length === size && !pipeEnded(fd, desk)) {
        throw fault('input-long', { expected: size });
      }
    },
  };
};

export default stage({ name: 'scan', open });
