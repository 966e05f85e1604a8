// Limits: what no program could beat on this machine, as it is right now. Reading the image with all processors and
// looking at no byte; copying it in memory; encoding or decoding its clusters and nothing else; writing what was
// stored and bringing it to the disk.

import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { DIGEST_BYTES, MiB, openDigester } from '../../disk/index.js';
import type { PackedCodec } from '../../stages/index.js';
import type { Job } from '../job.js';
import { CLUSTER } from '../options.js';
import type { Laps } from '../result.js';
import type { ThreadWork, Work } from './limit-thread.js';
import { emptyNode } from './peers.js';
import { type Command, execute } from './process.js';
import { inTurn, type Runner } from './race.js';

const THREAD = new URL('./limit-thread.js', import.meta.url);
const CHUNK_BYTES = 4 * MiB;
const WRITTEN = 'limit';

/** Milliseconds that the thread worked which worked longest. */
const perform = async (work: Work): Promise<number> => {
  const threads = work.kind === 'write' ? 1 : availableParallelism();
  const control = new SharedArrayBuffer(8);
  const workerData: ThreadWork = { work, threads, control };
  const times = Array.from(
    { length: threads },
    () =>
      new Promise<number>((resolve, reject) => {
        const worker = new Worker(THREAD, { workerData });
        worker.once('message', resolve);
        worker.once('error', reject);
      }),
  );
  return Math.max(...(await Promise.all(times)));
};

/** Offsets of the clusters with data of which no earlier one is equal: those that must be stored. */
export const distinctClusters = (path: string): SharedArrayBuffer => {
  const fd = fs.openSync(path, 'r');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  const zeros = Buffer.alloc(CLUSTER);
  const digester = openDigester('xxh3-128', new Uint8Array(8));
  const digest = Buffer.alloc(DIGEST_BYTES);
  const seen = new Set<string>();
  const offsets: number[] = [];
  try {
    for (let base = 0; ; base += CHUNK_BYTES) {
      const got = fs.readSync(fd, chunk, 0, CHUNK_BYTES, base);
      if (got === 0) break;
      chunk.fill(0, got);
      for (let at = 0; at < got; at += CLUSTER) {
        const cluster = chunk.subarray(at, at + CLUSTER);
        if (cluster.equals(zeros)) continue;
        digester.digest(cluster, digest, 0);
        const key = digest.toString('latin1');
        if (seen.has(key)) continue;
        seen.add(key);
        offsets.push(base + at);
      }
    }
  } finally {
    fs.closeSync(fd);
  }
  const shared = new SharedArrayBuffer(offsets.length * 8);
  new Float64Array(shared).set(offsets);
  return shared;
};

/** A limit by its name. */
export interface Limit {
  readonly name: string;
  /** The bytes that the rate counts; undefined where a rate means nothing. */
  readonly work: number | undefined;
  /** What threads do, or a process. */
  readonly what: Work | Command;
}

export const readLimit = (path: string): Limit => {
  const { size } = fs.statSync(path);
  return { name: 'limit: read', work: size, what: { kind: 'read', path, size } };
};

export const copyLimit = (size: number): Limit => ({
  name: 'limit: copy in memory',
  work: size,
  what: { kind: 'copy', size },
});

/** `rate`: the image bytes that the limit stands for. */
export const writeLimit = (job: Job, size: number, rate?: number): Limit => ({
  name: 'limit: write and sync',
  work: rate,
  what: { kind: 'write', path: job.scratch.path(WRITTEN), size },
});

export const codecLimit = (
  kind: 'encode' | 'decode',
  codec: PackedCodec,
  path: string,
  offsets: SharedArrayBuffer,
): Limit => ({
  name: `limit: ${codec} ${kind} alone`,
  work: fs.statSync(path).size,
  what: { kind, path, codec, clusterSize: CLUSTER, offsets },
});

/** For commands that do so little that starting is most of it. */
export const startLimit: Limit = {
  name: 'limit: node starts and ends',
  work: undefined,
  what: emptyNode,
};

/** Milliseconds that a process takes. */
const timeProcess = async (job: Job, command: Command): Promise<number> => {
  const began = performance.now();
  await execute(job.scratch, command);
  return performance.now() - began;
};

/** Measures each limit as often as the contenders ran, in turn. */
export const measureLimits = async (job: Job, limits: readonly Limit[]): Promise<Laps[]> => {
  const runners = limits.map(
    ({ name, work, what }): Runner => ({
      name,
      work,
      run: () => {
        job.scratch.drop(WRITTEN);
        return 'program' in what ? timeProcess(job, what) : perform(what);
      },
    }),
  );
  const laps = await inTurn(runners, job.options.rounds);
  job.scratch.drop(WRITTEN);
  return laps;
};
