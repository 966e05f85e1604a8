// A machine's point as a job among others. How a point is taken is known further up; here is when.

import { Fault, type KeepPolicy, type Pools, type Progress } from '../snapshot/index.js';
import {
  type Failure,
  failureOf,
  type MachineOutcome,
  type MachineTaken,
  stoppedBy,
} from './outcome.js';
import type { MachineJob } from './plan.js';

/** What a machine's take shares with all others of its run. */
export interface MachineAbout {
  /** Where its command runs. */
  readonly folder: string;
  /** Bytes for its batches. */
  readonly memory: number;
  readonly pools: Pools;
  readonly signal: AbortSignal | undefined;
  /** Which points stay after it; left out: all. */
  readonly keep: KeepPolicy | undefined;
  readonly onProgress: (progress: Pick<Progress, 'doneBytes' | 'totalBytes'>) => void;
  readonly onNotice: (sentence: string) => void;
}

/** Takes a machine's point, and calls `released` when the machine goes on; rejects with a Fault. */
export type MachineRunner = (
  job: MachineJob,
  about: MachineAbout & { readonly released: () => void },
) => Promise<{
  readonly result: MachineTaken;
  readonly pruned: number | null;
  readonly pruneError: Failure | null;
}>;

const NO_RUNNER = {
  problem: 'The jobs file has machines, and nobody here can take them.',
  advice: 'Hand runBulk a runner, as "machineRunner" of nvsnap/vm.',
};

/** Begins a machine's job; neither promise rejects. */
export const runMachine = (
  job: MachineJob,
  runner: MachineRunner | undefined,
  about: MachineAbout,
): { readonly released: Promise<void>; readonly ended: Promise<MachineOutcome> } => {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  const named = { name: job.name, qmp: job.qmp, stores: job.stores };
  const run = async (): Promise<MachineOutcome> => {
    if (about.signal?.aborted) {
      return { ...named, status: 'not-done', error: stoppedBy(about.signal) };
    }
    try {
      if (!runner) throw new Fault({ code: 'usage', details: NO_RUNNER });
      return { ...named, status: 'taken', ...(await runner(job, { ...about, released: release })) };
    } catch (error) {
      const stopped = error instanceof Fault && error.code === 'cancelled';
      return { ...named, status: stopped ? 'not-done' : 'failed', error: failureOf(error) };
    }
  };
  return { released, ended: run().finally(release) };
};
