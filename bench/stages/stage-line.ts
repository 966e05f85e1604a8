// A stage alone: batches that are ready for it come from memory, and what it has done goes nowhere.

import fs from 'node:fs';
import { GiB, MiB } from '../../disk/index.js';
import { type Batch, type Pools, run, type SlabPool, type Step } from '../../pipeline/index.js';
import { bottleneck } from '../report/words.js';
import type { Insight } from '../result.js';

/** A run of a line of steps over `batches` batches. */
export interface LineRun {
  readonly slabs: SlabPool;
  readonly steps: readonly Step[];
  readonly batches: number;
  /** Bytes of each batch. */
  readonly batchBytes: number;
  /** Makes a batch ready. It has its offset and length already; all clusters are plain. */
  ready?(batch: Batch): void;
  /** Gets each batch at the end, in order. */
  sink?(batch: Batch): void;
  readonly pools: Pools;
}

/** How long it took, and what the stages say. */
export interface LineDone {
  readonly milliseconds: number;
  readonly insight: Insight;
}

export const runLine = async (line: LineRun): Promise<LineDone> => {
  const { slabs, batches, batchBytes, pools } = line;
  const began = performance.now();
  const stages = await run({
    verb: 'bench',
    slabs,
    pools,
    source: async function* () {
      for (let i = 0; i < batches; i += 1) {
        const batch = await slabs.lease();
        batch.begin(i * batchBytes, batchBytes);
        line.ready?.(batch);
        yield batch;
      }
    },
    steps: line.steps,
    sink: (batch) => line.sink?.(batch),
    totalBytes: batches * batchBytes,
  });
  const milliseconds = performance.now() - began;
  return {
    milliseconds,
    insight: { elapsedMs: milliseconds, stages, words: bottleneck(milliseconds, stages) },
  };
};

/** So much of an image is enough to see what a stage does with it. */
const MOST_BYTES = GiB;

/** Whole batches that an image has, up to a bound. */
export const batchesIn = (path: string, batchBytes: number, most = MOST_BYTES): number =>
  Math.max(1, Math.floor(Math.min(most, fs.statSync(path).size) / batchBytes));

/** The usual batch, or what a small image has. */
export const batchBytesFor = (path: string): number =>
  Math.min(8 * MiB, Math.max(MiB, 2 ** Math.floor(Math.log2(fs.statSync(path).size / 8))));
