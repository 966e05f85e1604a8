// What runs in every thread of every pool: opens the stage once, then does one batch per task. A task
// is a slab's number; the answer is the microseconds spent, or a fault as data.

import { workerData } from 'node:worker_threads';
import { Fault, type FaultData, fault, reasonOf } from '../disk/index.js';
import { Batch, type SlabLayout } from './slab.js';
import type { Stage, StageThread } from './stage.js';

/** What a pool gives its threads. */
export interface WorkerSetup {
  readonly layout: SlabLayout;
  readonly memory: readonly SharedArrayBuffer[];
  /** One Int32; not 0 means cancelled. */
  readonly control: SharedArrayBuffer;
  readonly module: string;
  readonly options: unknown;
}

/** Microseconds of work, or what went wrong. */
export type Outcome = number | { readonly fault: FaultData; readonly trace: string };

const setup = workerData as WorkerSetup;
const flag = new Int32Array(setup.control);
const batches = setup.memory.map((memory, i) => new Batch(i, setup.layout, memory));

const open = async (): Promise<{ name: string; thread: StageThread }> => {
  const module = (await import(setup.module)) as { default: Stage<unknown> };
  const { name } = module.default;
  const thread = await module.default.open(setup.options, {
    clusterSize: setup.layout.clusterSize,
    cancelled: () => Atomics.load(flag, 0) !== 0,
  });
  return { name, thread };
};

// Opened while the thread starts; a failure is told with the first batch.
const opened = open();
opened.catch(() => {});

const failure = (error: unknown, stage: string, offset: number): Outcome => {
  const known =
    error instanceof Fault
      ? error
      : fault('stage-failed', { stage, offset, reason: reasonOf(error) });
  return {
    fault: { code: known.code, details: { stage, offset, ...known.details } },
    trace: error instanceof Error ? (error.stack ?? '') : '',
  };
};

export default async (slab: number): Promise<Outcome> => {
  const batch = batches[slab] as Batch;
  let name = setup.module;
  try {
    const { thread, name: own } = await opened;
    name = own;
    const began = performance.now();
    const work = thread.batch?.(batch);
    if (work !== undefined) await work;
    return Math.round((performance.now() - began) * 1000);
  } catch (error) {
    return failure(error, name, batch.offset);
  }
};
