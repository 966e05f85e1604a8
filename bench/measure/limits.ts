// Limits: what no program could beat on this machine, as it is right now; they run in turn with the contenders. Reading
// the image with all processors and looking at no byte; copying it in memory; encoding or decoding its clusters and
// nothing else; writing what was stored and bringing it to the disk.

import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { DIGEST_BYTES, MiB, openDigester } from '../../disk/index.js';
import type { PackedCodec } from '../../stages/index.js';
import type { Job } from '../job.js';
import { CLUSTER } from '../options.js';
import { settle } from './files.js';
import type { ThreadWork, Work } from './limit-thread.js';
import { emptyNode } from './peers.js';
import { execute } from './process.js';
import type { Runner } from './race.js';

const THREAD = new URL('./limit-thread.js', import.meta.url);
const CHUNK_BYTES = 4 * MiB;
const WRITTEN = 'limit';

/** Milliseconds that the thread worked which worked longest; the threads have ended by then. */
const perform = async (work: Work): Promise<number> => {
  const threads = work.kind === 'write' ? 1 : availableParallelism();
  const control = new SharedArrayBuffer(8);
  const workerData: ThreadWork = { work, threads, control };
  const times = Array.from(
    { length: threads },
    () =>
      new Promise<number>((resolve, reject) => {
        const worker = new Worker(THREAD, { workerData });
        let milliseconds = Number.NaN;
        worker.once('message', (worked: number) => {
          milliseconds = worked;
        });
        worker.once('error', reject);
        worker.once('exit', () => resolve(milliseconds));
      }),
  );
  return Math.max(...(await Promise.all(times)));
};

/** Offsets of the clusters with data of which no earlier one is equal: those that must be stored. */
export const distinctClusters = (path: string): SharedArrayBuffer => {
  const fd = fs.openSync(path, 'r');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  const zeros = Buffer.alloc(CLUSTER);
  const digester = openDigester({ algorithm: 'xxh3-128', seed: new Uint8Array(8) });
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

const threadsDo = (name: string, work: number | undefined, what: () => Work): Runner => ({
  name: `limit: ${name}`,
  work,
  run: () => perform(what()),
});

/** `path`: where the file is that is to be read in a round. */
export const readLimit = (job: Job, path: () => string): Runner =>
  threadsDo('read', fs.statSync(path()).size, () => {
    settle(job, path());
    return { kind: 'read', path: path(), size: fs.statSync(path()).size };
  });

export const copyLimit = (size: number): Runner =>
  threadsDo('copy in memory', size, () => ({ kind: 'copy', size }));

/** `size`: as many bytes as ours wrote last. `work`: the image bytes that they stand for. */
export const writeLimit = (job: Job, size: () => number, work?: number): Runner => ({
  name: 'limit: write and sync',
  work,
  run: async () => {
    const milliseconds = await perform({
      kind: 'write',
      path: job.scratch.path(WRITTEN),
      size: size(),
    });
    job.scratch.drop(WRITTEN);
    return milliseconds;
  },
});

/** `offsets`: those of the clusters that must be stored. */
export const codecLimit = (
  kind: 'encode' | 'decode',
  codec: PackedCodec,
  path: string,
  offsets: SharedArrayBuffer,
  level?: number,
): Runner =>
  threadsDo(`${codec} ${kind} alone`, fs.statSync(path).size, () => ({
    kind,
    path,
    codec,
    level,
    clusterSize: CLUSTER,
    offsets,
  }));

/** For commands that do so little that starting is most of it. */
export const startLimit = (job: Job): Runner => ({
  name: 'limit: node starts and ends',
  work: undefined,
  run: async () => {
    const began = performance.now();
    await execute(job.scratch, emptyNode);
    return performance.now() - began;
  },
});
