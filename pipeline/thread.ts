// A stage as one thread has it open: loads the module, opens it once, then does batch after batch. A
// failure is returned as data, since custom properties of errors are lost between threads.

import { Fault, type FaultData, fault, reasonOf, type SharedBytes } from '../disk/index.js';
import type { Batch, SlabLayout } from './slab.js';
import type { Stage, StageThread } from './stage.js';

/** What a thread must know to open a stage; it can be sent to one. */
export interface ThreadSetup {
  /** Which run this is for. */
  readonly run: number;
  /** URL of the stage's module. */
  readonly module: string;
  readonly layout: SlabLayout;
  readonly memory: readonly SharedBytes[];
  /** One Int32; not 0 means cancelled. */
  readonly control: SharedArrayBuffer;
  readonly options: unknown;
}

/** What a thread is started with. */
export interface PoolSetup {
  /** URL of the stage's module, where it is known. */
  readonly module: string | undefined;
  /** Name of the broadcast channel on which the numbers of ended runs come. */
  readonly ends: string;
}

/** One batch for one thread. `setup` is there while not every thread of the pool has it. */
export interface Task {
  readonly slab: number;
  readonly run: number;
  readonly setup?: ThreadSetup;
}

/** Microseconds of work, or what went wrong; `opened` when the stage was opened for it. */
export type Outcome = (
  | { readonly micros: number }
  | { readonly fault: FaultData; readonly trace: string }
) & { readonly opened?: boolean };

const open = async (setup: ThreadSetup): Promise<{ name: string; thread: StageThread }> => {
  const flag = new Int32Array(setup.control);
  const module = (await import(setup.module)) as { default: Stage<unknown> };
  const { name } = module.default;
  const thread = await module.default.open(setup.options, {
    clusterSize: setup.layout.clusterSize,
    cancelled: () => Atomics.load(flag, 0) !== 0,
  });
  return { name, thread };
};

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

/** Opens a stage in this thread; what it returns does one batch and never rejects. */
export const openStage = (setup: ThreadSetup): ((batch: Batch) => Promise<Outcome>) => {
  // A failure to open is told with each batch.
  const opened = open(setup);
  opened.catch(() => {});
  return async (batch) => {
    let name = setup.module;
    try {
      const { thread, name: own } = await opened;
      name = own;
      const began = performance.now();
      const work = thread.batch?.(batch);
      if (work !== undefined) await work;
      return { micros: Math.round((performance.now() - began) * 1000) };
    } catch (error) {
      return failure(error, name, batch.offset);
    }
  };
};
