// What runs in every thread of every pool. What a run wants of it comes with the run's first tasks; where
// the stage's module is known before, it is loaded while the thread starts. A thread has the stage open once
// for each run under way, and lets go of it, and of the run's slabs, when it hears that the run has ended.

import { BroadcastChannel, workerData } from 'node:worker_threads';
import { Batch } from './slab.js';
import { type Outcome, openStage, type PoolSetup, type Task } from './thread.js';

const { module, ends } = workerData as PoolSetup;
// A failure to load is told when the stage is opened.
if (module !== undefined) import(module).catch(() => {});

interface Open {
  readonly batches: readonly Batch[];
  readonly perform: (batch: Batch) => Promise<Outcome>;
}

/** By the run's number. */
const open = new Map<number, Open>();

const channel = new BroadcastChannel(ends);
channel.onmessage = (message: unknown) => open.delete((message as { data: number }).data);
// It must not keep a thread alive that is to end.
channel.unref();

/** The stage as this run wants it; `opened` when it was not open yet. */
const openFor = ({ run, setup }: Task): { readonly stage: Open; readonly opened: boolean } => {
  const known = open.get(run);
  if (known) return { stage: known, opened: false };
  if (!setup) throw new Error('this thread was not told what to do');
  const { layout, memory } = setup;
  const batches = memory.map((slab, i) => new Batch(i, layout, slab));
  const stage = { batches, perform: openStage(setup) };
  open.set(run, stage);
  return { stage, opened: true };
};

export default async (task: Task): Promise<Outcome> => {
  const { stage, opened } = openFor(task);
  const outcome = await stage.perform(stage.batches[task.slab] as Batch);
  return opened ? { ...outcome, opened } : outcome;
};
