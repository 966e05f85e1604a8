// What runs in every thread of every pool. What a run wants of it comes with the run's first tasks; where
// the stage's module is known before, it is loaded while the thread starts.

import { workerData } from 'node:worker_threads';
import { Batch } from './slab.js';
import { type Outcome, openStage, type Task } from './thread.js';

const module = workerData as string | undefined;
// A failure to load is told when the stage is opened.
if (module !== undefined) import(module).catch(() => {});

interface Open {
  readonly run: number;
  readonly batches: readonly Batch[];
  readonly perform: (batch: Batch) => Promise<Outcome>;
}

let open: Open | undefined;

/** The stage as this run wants it; `opened` when it was not open yet. */
const openFor = ({ run, setup }: Task): { readonly stage: Open; readonly opened: boolean } => {
  if (open?.run === run) return { stage: open, opened: false };
  if (!setup) throw new Error('this thread was not told what to do');
  const { layout, memory } = setup;
  const batches = memory.map((slab, i) => new Batch(i, layout, slab));
  open = { run, batches, perform: openStage(setup) };
  return { stage: open, opened: true };
};

export default async (task: Task): Promise<Outcome> => {
  const { stage, opened } = openFor(task);
  const outcome = await stage.perform(stage.batches[task.slab] as Batch);
  return opened ? { ...outcome, opened } : outcome;
};
