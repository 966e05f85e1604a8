// A small line of stages to test the engine with: a source that counts what it leases, probe stages,
// and a sink that notes what arrives.

import fs from 'node:fs';
import type {
  Batch,
  RunEmitter,
  SlabLayout,
  StageReport,
  StageUse,
  Step,
} from '../../pipeline/index.js';
import { Pools, run, SlabPool } from '../../pipeline/index.js';
import { COUNTERS, type ProbeOptions } from './stages/probe.js';

export const LAYOUT: SlabLayout = { clusterSize: 4096, clusters: 4, packedBytes: 0 };
export const BATCH_BYTES = LAYOUT.clusterSize * LAYOUT.clusters;

/** A probe as a step, and its counters. */
export const probe = (
  name: string,
  threads: number,
  options: Omit<ProbeOptions, 'counts'> = {},
): { readonly use: StageUse; readonly counts: Int32Array } => {
  const counts = new SharedArrayBuffer(COUNTERS * 4);
  return {
    use: { ...module(name, 'probe', threads), options: { ...options, counts } },
    counts: new Int32Array(counts),
  };
};

/** A stage of test/pipeline/stages/ as a step. */
export const module = (name: string, file: string, threads: number): StageUse => ({
  name,
  module: new URL(`./stages/${file}.js`, import.meta.url).href,
  options: {},
  threads,
});

/** What came of a line. */
export interface Outcome {
  /** Batch indices in the order of their arrival. */
  readonly arrived: number[];
  readonly yielded: number;
  /** The most slabs that were out at once. */
  readonly mostLeased: number;
  readonly slabs: SlabPool;
  readonly error: unknown;
  readonly reports: readonly StageReport[];
}

/** Runs `batches` batches through `steps` with `slabCount` slabs; never rejects. */
export const runLine = async (line: {
  readonly steps: readonly Step[];
  readonly batches: number;
  readonly slabCount: number;
  readonly signal?: AbortSignal;
  readonly sink?: (batch: Batch, index: number) => void;
  readonly onLease?: (index: number) => void;
  readonly events?: RunEmitter;
  /** Threads that stay; left out: the run's own. */
  readonly pools?: Pools;
  /** Left out: the run's own. */
  readonly slabs?: SlabPool;
  /** Bytes missing from the last batch. */
  readonly short?: number;
}): Promise<Outcome> => {
  const slabs = line.slabs ?? new SlabPool(LAYOUT, line.slabCount);
  const arrived: number[] = [];
  let yielded = 0;
  let mostLeased = 0;
  const totalBytes = line.batches * BATCH_BYTES - (line.short ?? 0);
  async function* source(): AsyncGenerator<Batch> {
    for (let i = 0; i < line.batches; i += 1) {
      const batch = await slabs.lease();
      mostLeased = Math.max(mostLeased, line.slabCount - slabs.idle);
      batch.begin(i * BATCH_BYTES, Math.min(BATCH_BYTES, totalBytes - i * BATCH_BYTES));
      line.onLease?.(i);
      yielded += 1;
      yield batch;
    }
  }
  const pools = line.pools ?? new Pools();
  let error: unknown;
  let reports: readonly StageReport[] = [];
  try {
    reports = await run({
      verb: 'test',
      slabs,
      pools,
      source,
      steps: line.steps,
      sink: (batch) => {
        const index = batch.offset / BATCH_BYTES;
        line.sink?.(batch, index);
        arrived.push(index);
      },
      totalBytes,
      ...(line.signal ? { signal: line.signal } : {}),
      events: line.events,
    });
  } catch (thrown) {
    error = thrown;
  } finally {
    if (pools !== line.pools) await pools.close();
  }
  return { arrived, yielded, mostLeased, slabs, error, reports };
};

/** Threads of this process, whoever started them. */
export const threadCount = (): number => fs.readdirSync('/proc/self/task').length;

/** Waits for threads that are ending; resolves to the count, `limit` or less unless they stay. */
export const settledThreads = async (limit: number): Promise<number> => {
  for (let tries = 0; tries < 500 && threadCount() > limit; tries += 1) {
    await new Promise((next) => setTimeout(next, 10));
  }
  return threadCount();
};

export const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
