// Kernels: what is done to each cluster or table, alone, on one thread and in memory. tinybench calls each again and
// again; what counts is the median of its calls, once per round.

import fs from 'node:fs';
import { Bench } from 'tinybench';
import { GiB, KiB, MiB } from '../../disk/index.js';
import type { Job } from '../job.js';
import type { CaseName } from '../options.js';
import { type Axis, type Laps, type Result, resultOf } from '../result.js';

/** Bytes that a call works on: a cluster of the largest size. */
const SAMPLE_BYTES = 2 * MiB;
/** Where the sample is taken from: enough of an image to hold all that it is made of. */
const IMAGE_BYTES = 64 * MiB;
/** Where the search for data ends: an image of zeros has none. */
const MOST_BYTES = GiB;
const WARM_UP_MS = 10;

export const CLUSTER_SIZES = [4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, 2 * MiB];
export const SIZE_AXIS: Axis = { label: 'cluster size', kind: 'bytes' };

/** One of them. */
export interface Kernel {
  readonly name: string;
  readonly at: number | string;
  /** Bytes that a call works on. */
  readonly work: number;
  run(): void;
}

/** Pieces of an image, each a 64th of it further on, one after another: all of it has data. */
export const sample = async (job: Job): Promise<Buffer> => {
  const { path, size } = await job.subject(Math.min(IMAGE_BYTES, job.options.size));
  const piece = 64 * KiB;
  const bytes = Buffer.alloc(SAMPLE_BYTES);
  const zeros = Buffer.alloc(piece);
  const fd = fs.openSync(path, 'r');
  try {
    let at = 0;
    const step = piece * Math.max(1, Math.floor(size / piece / (SAMPLE_BYTES / piece) / 2));
    for (let from = 0; at < SAMPLE_BYTES && from < MOST_BYTES; from += step) {
      const into = bytes.subarray(at, at + piece);
      fs.readSync(fd, into, 0, piece, from % Math.max(piece, size - piece));
      if (!into.equals(zeros)) at += piece;
    }
  } finally {
    fs.closeSync(fd);
  }
  return bytes;
};

/** Times kernels, round after round. */
const timeKernels = async (job: Job, kernels: readonly Kernel[]): Promise<Laps[]> => {
  const times = kernels.map((): number[] => []);
  for (let round = 0; round < job.options.rounds; round += 1) {
    const bench = new Bench({
      time: job.options.kernelMs,
      iterations: 1,
      warmup: round === 0,
      warmupTime: WARM_UP_MS,
      warmupIterations: 1,
      throws: true,
    });
    for (const [i, { run }] of kernels.entries()) bench.add(`${i}`, run);
    await bench.run();
    for (const [i, { result }] of bench.tasks.entries()) {
      if (result.state !== 'completed') throw new Error(`kernel ${i} was not measured`);
      times[i]?.push(result.latency.p50);
    }
  }
  return kernels.map(({ name, at, work }, i) => ({
    name,
    milliseconds: times[i] as number[],
    work,
    made: undefined,
    at,
  }));
};

/** Makes a result of kernels; `check` proves what they made, and says what that is. */
export const kernelCase = async (
  job: Job,
  name: CaseName,
  title: string,
  axis: Axis,
  kernels: readonly Kernel[],
  check: () => string,
): Promise<Result> => {
  const laps = await timeKernels(job, kernels);
  return resultOf(
    { level: 'kernels', case: name },
    {
      title,
      laps,
      verified: [...new Set(kernels.map((kernel) => kernel.name))],
      digest: check(),
      axis,
    },
  );
};
