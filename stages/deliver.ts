// deliver: writes verified clusters to the output.

import { attachFile, type File, type FileSpec, OutStream } from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';

/**
 * How the output takes what is delivered.
 *
 * - `fresh`: it reads as zeros wherever nothing is written, so zeros are left as holes.
 * - `over`: it may hold something else, so zeros are made too, also in place of what is damaged.
 * - `update`: it is a copy that is to be brought up to date. What it has already is not written again,
 *   and marked as `same`; what is damaged stays as it is there.
 * - `stream`: it takes bytes in order. Batches come in order to the only thread; what lies between them are
 *   zeros.
 */
export type Manner = 'fresh' | 'over' | 'update' | 'stream';

export interface DeliverOptions {
  readonly output: FileSpec;
  readonly manner: Manner;
  /** The image bytes that are wanted: [start, end). */
  readonly start: number;
  readonly end: number;
  /** What is subtracted from an image offset to get one in the output. */
  readonly shift: number;
  /** True to mark only, with `update`, and to write nothing. */
  readonly dryRun?: boolean | undefined;
}

/** Zeros inside stored data become holes in units of this, or of a cluster if that is smaller. */
const HOLE_BYTES = 64 * 1024;

/** Bytes [from, to) of a batch. */
interface Span {
  readonly from: number;
  readonly to: number;
}

/** The part of a batch that is wanted. */
const wantedOf = (batch: Batch, { start, end }: DeliverOptions): Span => ({
  from: Math.max(0, start - batch.offset),
  to: Math.min(batch.length, end - batch.offset),
});

/** True for a cluster that has bytes to be written. */
const hasBytes = (kind: number | undefined): boolean => kind !== Kind.zero && kind !== Kind.damaged;

const openFresh = (file: File, options: DeliverOptions): ((batch: Batch) => void) => {
  const zeros = Buffer.alloc(HOLE_BYTES);
  return (batch) => {
    const { clusterSize } = batch.layout;
    const unit = Math.min(HOLE_BYTES, clusterSize);
    const { from, to } = wantedOf(batch, options);
    const write = (first: number, last: number): void => {
      if (first < last) {
        file.write(batch.data.subarray(first, last), batch.offset + first - options.shift);
      }
    };
    // Where the run begins that is still to be written.
    let begun = from;
    let next = from;
    for (let at = from; at < to; at = next) {
      next = Math.min(to, at - (at % unit) + unit);
      const isData =
        hasBytes(batch.kinds[Math.floor(at / clusterSize)]) &&
        !batch.data.subarray(at, next).equals(zeros.subarray(0, next - at));
      if (isData) continue;
      write(begun, at);
      begun = next;
    }
    write(begun, to);
  };
};

/** What is wanted of one cluster. */
interface Part {
  /** Where it goes in the output. */
  readonly place: number;
  readonly length: number;
  /** Undefined for one that has none: it reads as zeros, or is damaged. */
  readonly bytes: Buffer | undefined;
}

/** Calls `each` with the wanted part of every cluster that is still to be dealt with. */
const eachLive = (
  batch: Batch,
  options: DeliverOptions,
  each: (part: Part, i: number) => void,
): void => {
  const { clusterSize } = batch.layout;
  const wanted = wantedOf(batch, options);
  for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
    const start = i * clusterSize;
    const from = Math.max(wanted.from, start);
    const to = Math.min(wanted.to, start + clusterSize);
    if (from >= to) continue;
    const isData = hasBytes(batch.kinds[i]);
    const bytes = isData ? batch.cluster(i).subarray(from - start, to - start) : undefined;
    each({ place: batch.offset + from - options.shift, length: to - from, bytes }, i);
  }
};

const openOver =
  (file: File, options: DeliverOptions) =>
  (batch: Batch): void =>
    eachLive(batch, options, ({ place, length, bytes }) => {
      if (bytes) file.write(bytes, place);
      else file.zero(place, length);
    });

const openUpdate = (
  file: File,
  options: DeliverOptions,
  clusterSize: number,
): ((batch: Batch) => void) => {
  const present = Buffer.alloc(clusterSize);
  const zeros = Buffer.alloc(clusterSize);
  return (batch) =>
    eachLive(batch, options, ({ place, length, bytes }, i) => {
      if (batch.kinds[i] === Kind.damaged) return;
      const there = present.subarray(0, length);
      // Past its end a copy counts as zeros.
      there.fill(0, file.read(there, place));
      if (there.equals(bytes ?? zeros.subarray(0, length))) batch.kinds[i] = Kind.same;
      else if (options.dryRun) return;
      else if (bytes) file.write(bytes, place);
      else file.zero(place, length);
    });
};

const openStream = (options: DeliverOptions, desk: Desk): ((batch: Batch) => void) => {
  const { output } = options;
  const stream = new OutStream(output.fd, output.path, desk.cancelled);
  /** The next image byte to go out. */
  let at = options.start;
  return (batch) => {
    for (let i = 0; i < batch.count; i += 1) {
      if (!hasBytes(batch.kinds[i])) batch.cluster(i).fill(0);
    }
    const { from, to } = wantedOf(batch, options);
    if (from >= to) return;
    stream.zeros(batch.offset + from - at);
    stream.write(batch.data.subarray(from, to));
    at = batch.offset + to;
  };
};

const open = (options: DeliverOptions, desk: Desk): StageThread => {
  if (options.manner === 'stream') return { batch: openStream(options, desk) };
  const file = attachFile(options.output);
  if (options.manner === 'fresh') return { batch: openFresh(file, options) };
  if (options.manner === 'over') return { batch: openOver(file, options) };
  return { batch: openUpdate(file, options, desk.clusterSize) };
};

export default stage<DeliverOptions>({
  name: 'deliver',
  summary: 'writes to the output, and keeps its holes',
  open,
});
