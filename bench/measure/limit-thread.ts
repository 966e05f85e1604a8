// One thread of a limit: does its share of one kind of work, and says how long it worked. All threads begin at once.

import fs from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { KiB, MiB, pageBuffer } from '../../disk/index.js';
import { openCodec, type PackedCodec } from '../../stages/index.js';

/** What is to be done, by all threads together; bytes. */
export type Work =
  | { readonly kind: 'read'; readonly path: string; readonly size: number }
  | { readonly kind: 'copy'; readonly size: number }
  | { readonly kind: 'write'; readonly path: string; readonly size: number }
  | {
      readonly kind: 'encode' | 'decode';
      readonly path: string;
      readonly codec: PackedCodec;
      /** Of the encoder; undefined: as for a take. */
      readonly level?: number | undefined;
      readonly clusterSize: number;
      /** Image offsets of the clusters: 64-bit floating-point numbers. */
      readonly offsets: SharedArrayBuffer;
    };

/** What a thread is started with. */
export interface ThreadWork {
  readonly work: Work;
  readonly threads: number;
  /** Two Int32: how many threads are ready, and the next piece of work. */
  readonly control: SharedArrayBuffer;
}

/** As much as stays in a processor's cache; of copies and writes, as much as a batch. */
const READ_BYTES = 512 * KiB;
const PIECE_BYTES = 8 * MiB;
/** Clusters that a thread takes at once. */
const CLUSTERS = 64;

const { work, threads, control } = workerData as ThreadWork;
const state = new Int32Array(control);

/** Numbers of pieces, until all `count` are given out. */
function* pieces(count: number): Generator<number> {
  for (let i = Atomics.add(state, 1, 1); i < count; i = Atomics.add(state, 1, 1)) yield i;
}

/** Waits until every thread has come so far. */
const meet = (): void => {
  Atomics.add(state, 0, 1);
  Atomics.notify(state, 0);
  for (let ready = Atomics.load(state, 0); ready < threads; ready = Atomics.load(state, 0)) {
    Atomics.wait(state, 0, ready);
  }
};

const read = (path: string, size: number): number => {
  const fd = fs.openSync(path, 'r');
  const into = pageBuffer(READ_BYTES);
  meet();
  const began = performance.now();
  for (const i of pieces(Math.ceil(size / READ_BYTES))) {
    fs.readSync(fd, into, 0, READ_BYTES, i * READ_BYTES);
  }
  const milliseconds = performance.now() - began;
  fs.closeSync(fd);
  return milliseconds;
};

const copy = (size: number): number => {
  const [from, to] = [pageBuffer(PIECE_BYTES).fill(1), pageBuffer(PIECE_BYTES).fill(2)];
  meet();
  const began = performance.now();
  for (const _ of pieces(Math.ceil(size / PIECE_BYTES))) from.copy(to);
  return performance.now() - began;
};

const write = (path: string, size: number): number => {
  const bytes = pageBuffer(PIECE_BYTES);
  for (let at = 0; at < PIECE_BYTES; at += 4)
    bytes.writeUInt32LE(Math.imul(at, 0x9e3779b1) >>> 0, at);
  const fd = fs.openSync(path, 'wx');
  meet();
  const began = performance.now();
  for (let at = 0; at < size; at += PIECE_BYTES) {
    fs.writeSync(fd, bytes, 0, Math.min(PIECE_BYTES, size - at), at);
  }
  fs.fdatasyncSync(fd);
  const milliseconds = performance.now() - began;
  fs.closeSync(fd);
  return milliseconds;
};

/** Reading the clusters, and encoding those that are to be decoded, is not counted. */
const code = async (job: Extract<Work, { kind: 'encode' | 'decode' }>): Promise<number> => {
  const { kind, path, clusterSize } = job;
  const offsets = new Float64Array(job.offsets);
  const codec = await openCodec({ codec: job.codec, level: job.level }, clusterSize);
  const fd = fs.openSync(path, 'r');
  const clusters = pageBuffer(CLUSTERS * clusterSize);
  const payloads = pageBuffer(CLUSTERS * clusterSize);
  const lengths: number[] = [];
  const part = (of: Buffer, i: number, length = clusterSize): Buffer =>
    of.subarray(i * clusterSize, i * clusterSize + length);
  const encode = (count: number): void => {
    for (let i = 0; i < count; i += 1) {
      lengths[i] = codec.encode(part(clusters, i), part(payloads, i, clusterSize - 1));
    }
  };
  const decode = (count: number): void => {
    for (let i = 0; i < count; i += 1) {
      if (lengths[i] !== 0) codec.decode(part(payloads, i, lengths[i]), part(clusters, i));
    }
  };
  let milliseconds = 0;
  meet();
  for (const block of pieces(Math.ceil(offsets.length / CLUSTERS))) {
    const count = Math.min(CLUSTERS, offsets.length - block * CLUSTERS);
    for (let i = 0; i < count; i += 1) {
      const into = part(clusters, i);
      into.fill(0, fs.readSync(fd, into, 0, clusterSize, offsets[block * CLUSTERS + i] as number));
    }
    if (kind === 'decode') encode(count);
    const began = performance.now();
    if (kind === 'decode') decode(count);
    else encode(count);
    milliseconds += performance.now() - began;
    await codec.settle?.();
  }
  fs.closeSync(fd);
  return milliseconds;
};

const perform = (): number | Promise<number> => {
  switch (work.kind) {
    case 'read':
      return read(work.path, work.size);
    case 'copy':
      return copy(work.size);
    case 'write':
      return write(work.path, work.size);
    case 'encode':
    case 'decode':
      return code(work);
  }
};

void Promise.resolve(perform()).then((result) => parentPort?.postMessage(result));
