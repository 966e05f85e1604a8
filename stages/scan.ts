// scan: reads a batch's part of the image, a piece at a time, and takes each piece's fingerprints before
// the next one pushes it out of the processor's cache. Where there is a parent, a piece that is equal
// to it never leaves that cache: only changed clusters are copied to where they belong.

import fs from 'node:fs';
import {
  attachFile,
  DIGEST_BYTES,
  type DigestOptions,
  errnoOf,
  type Fault,
  fault,
  ioFault,
  MiB,
  openDigester,
  pageBuffer,
  waitReadable,
} from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';

export interface ScanOptions {
  readonly path: string;
  readonly fd: number;
  /** Size of the image in bytes, as it was when the run began. */
  readonly size: number;
  /** False for a pipe: batches are then read one after another, on one thread. */
  readonly seekable: boolean;
  /** Undefined when the digests are taken later, of what becomes of the bytes. */
  readonly digests: DigestOptions | undefined;
  /** True when what is equal to the parent is not wanted. */
  readonly dependent: boolean;
}

/** What one core's caches hold, and enough for the calls per piece not to count. */
const PIECE_BYTES = 512 * 1024;

/** After so much it is seen whether the run was cancelled. */
const LOOK_BYTES = 16 * MiB;

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

/** The end of the run of clusters from `first` on that are to be looked at; at most `most`. */
const endOfRun = ({ kinds }: Batch, first: number, most: number): number => {
  let end = first + 1;
  while (end < most && kinds[end] !== Kind.same) end += 1;
  return end;
};

const open = (options: ScanOptions, desk: Desk): StageThread => {
  const { path, fd, size, seekable, digests, dependent } = options;
  const { clusterSize } = desk;
  const file = attachFile({ path, fd });
  const digester = digests && openDigester(digests);
  /** Clusters of a piece. */
  const step = Math.max(1, Math.floor(PIECE_BYTES / clusterSize));
  const look = LOOK_BYTES / clusterSize;

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

  /** With a parent every piece is read to this one place, which so stays in the processor's cache. */
  const place = dependent ? pageBuffer(step * clusterSize) : undefined;
  const views = Array.from({ length: place ? step : 0 }, (_, i) =>
    (place as Buffer).subarray(i * clusterSize, (i + 1) * clusterSize),
  );

  /**
   * Copies those of clusters [first, end) that are not the parent's to where they belong. Cuts the batch before the
   * first that has no room, and returns false then.
   */
  const keep = (batch: Batch, first: number, end: number): boolean => {
    if (batch.isKnown(first, end)) return true;
    for (let i = first; i < end; i += 1) {
      if (batch.isKnown(i, i + 1)) continue;
      if (!batch.hold(i)) {
        batch.shorten(i);
        return false;
      }
      views[i - first]?.copy(batch.cluster(i));
    }
    return true;
  };

  /** Reads a piece from cluster `first` on, before `end`. Returns the cluster behind it; undefined when the run was cancelled. */
  const readPiece = (batch: Batch, first: number, end: number): number | undefined => {
    const next = Math.min(end, first + step);
    const from = first * clusterSize;
    const length = Math.min(next * clusterSize, batch.length) - from;
    const bytes = place?.subarray(0, length) ?? batch.data.subarray(from, from + length);
    if (!fill(bytes, batch.offset + from)) return undefined;
    digester?.fingerprints(bytes, clusterSize, batch.digests, first * DIGEST_BYTES);
    return next;
  };

  /** The same with all pieces up to the first that is not the parent's. */
  const readOn = (batch: Batch, first: number, end: number): number | undefined => {
    if (!place || !digester || !seekable) return readPiece(batch, first, end);
    const from = first * clusterSize;
    const offset = batch.offset + from;
    const length = Math.min(end * clusterSize, batch.length) - from;
    const at = first * DIGEST_BYTES;
    let done: number;
    try {
      const part = { fd, offset, length };
      done = digester.scan(part, place, clusterSize, batch.known, batch.digests, at);
    } catch (error) {
      throw ioFault(error, path, 'read');
    }
    if (desk.cancelled()) return undefined;
    // It says how long the image is now.
    return done === 0 ? readPiece(batch, first, end) : first + Math.ceil(done / clusterSize);
  };

  return {
    batch(batch: Batch): void {
      const { count } = batch;
      for (let first = batch.nextLive(0); first < count; ) {
        const next = readOn(batch, first, endOfRun(batch, first, Math.min(count, first + look)));
        if (next === undefined) return;
        const piece = first + step * Math.floor((next - 1 - first) / step);
        if (place && !keep(batch, piece, next)) break;
        first = batch.nextLive(next);
      }
      batch.digested = digester !== undefined;
      if (!seekable && batch.offset + batch.length === size && !pipeEnded(fd, desk)) {
        throw fault('input-long', { expected: size });
      }
    },
  };
};

export default stage({
  name: 'scan',
  summary: 'reads the image, and takes the digest of every cluster',
  open,
});
