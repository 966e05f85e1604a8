// A stage as one thread has it open: loads the module, opens it once, then does batch after batch. A
// failure is returned as data, since custom properties of errors are lost between threads.

import { Fault, type FaultData, fault, reasonOf, type SharedBytes } from '../disk/index.js';
import type { Batch, SlabLayout } from './slab.js';
import type { Stage, StageThread } from './stage.js';

/** What a thread must know to open a stage; it can be sent to one. */
export interface ThreadSetup {
  /** Which run this is for. */
  readonly run: number;
  /** The stage's name in its line. */
  readonly name: string;
  /** URL of its module. */
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
  /** Name of the broadcast channel on which the ends of runs are told and answered. */
  readonly ends: string;
  /** One Int32; not 0 once a thread has begun a task. */
  readonly begun: SharedArrayBuffer;
}

/** One batch for one thread. `setup` is there while not every thread of the pool has it. */
export interface Task {
  readonly slab: number;
  readonly run: number;
  readonly setup?: ThreadSetup;
}

/** Tells all threads of a pool that a run has ended. */
export interface EndOfRun {
  readonly run: number;
  /** True when it ended well. */
  readonly sound: boolean;
  /** True when those who have something to do at the end are waited for. */
  readonly asked: boolean;
}

/** The answer of one thread. */
export interface Ended {
  readonly endedRun: number;
  readonly ending: Ending;
}

/** What went wrong, fit to be sent. */
export interface Failure {
  readonly fault: FaultData;
  readonly trace: string;
}

/**
 * Microseconds of work, or what went wrong. `opened` when the stage was opened for it, `ends` when it has something to
 * do at the end.
 */
export type Outcome = ({ readonly micros: number } | Failure) & {
  readonly opened?: boolean;
  readonly ends?: boolean;
};

/** What a thread had to say at the end of a run, or what went wrong. */
export type Ending = { readonly part: unknown } | Failure;

/** A stage as one thread has it open for one run. */
export interface OpenStage {
  /** Does one batch, after all that were handed over before; never rejects. */
  perform(batch: Batch): Promise<Outcome>;
  /** True when there is something to do at the end. */
  ends(): Promise<boolean>;
  /** The run has ended; `sound`: well. Never rejects. */
  end(sound: boolean): Promise<Ending>;
}

const open = async (setup: ThreadSetup): Promise<StageThread> => {
  const flag = new Int32Array(setup.control);
  const module = (await import(setup.module)) as { default: Stage };
  return module.default.open(setup.options, {
    clusterSize: setup.layout.clusterSize,
    cancelled: () => Atomics.load(flag, 0) !== 0,
  });
};

const failure = (error: unknown, stage: string, offset: number): Failure => {
  const known =
    error instanceof Fault
      ? error
      : fault('stage-failed', { stage, offset, reason: reasonOf(error) });
  return {
    fault: { code: known.code, details: { stage, offset, ...known.details } },
    trace: error instanceof Error ? (error.stack ?? '') : '',
  };
};

/** Opens a stage in this thread. */
export const openStage = (setup: ThreadSetup): OpenStage => {
  // A failure to open is told with each batch.
  const opened = open(setup);
  opened.catch(() => {});
  /** A batch that the stage has not given back yet. */
  let waiting: Promise<unknown> | undefined;
  let offset = 0;
  return {
    async perform(batch) {
      try {
        const thread = await opened;
        while (waiting !== undefined) await waiting;
        offset = batch.offset;
        const began = performance.now();
        const work = thread.batch?.(batch);
        if (work instanceof Promise) {
          waiting = work.catch(() => {});
          try {
            await work;
          } finally {
            waiting = undefined;
          }
        }
        return { micros: Math.round((performance.now() - began) * 1000) };
      } catch (error) {
        return failure(error, setup.name, batch.offset);
      }
    },
    ends: () =>
      opened.then(
        ({ flush, close }) => flush !== undefined || close !== undefined,
        () => false,
      ),
    async end(sound) {
      try {
        const thread = await opened;
        try {
          // What cannot be sent is noticed here, where it is known whose it is.
          return { part: structuredClone(sound ? await thread.flush?.() : undefined) };
        } finally {
          await thread.close?.();
        }
      } catch (error) {
        return failure(error, setup.name, offset);
      }
    },
  };
};
