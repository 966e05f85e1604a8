// What runs in every thread of every pool. What a run wants of it comes with the run's first tasks; where
// the stage's module is known before, it is loaded while the thread starts. A thread has the stage open once
// for each run under way, and lets go of it, and of the run's slabs, when it hears that the run has ended.

import { setImmediate } from 'node:timers/promises';
import { BroadcastChannel, workerData } from 'node:worker_threads';
import { Batch } from './slab.js';
import {
  type Ended,
  type EndOfRun,
  type OpenStage,
  type Outcome,
  openStage,
  type PoolSetup,
  type Task,
} from './thread.js';

const { module, ends, begun } = workerData as PoolSetup;
const begunFlag = new Int32Array(begun);
// A failure to load is told when the stage is opened.
if (module !== undefined) import(module).catch(() => {});

interface Open {
  readonly batches: readonly Batch[];
  readonly stage: OpenStage;
}

/** By the run's number. */
const open = new Map<number, Open>();

const channel = new BroadcastChannel(ends);

const endRun = async ({ run, sound, asked }: EndOfRun): Promise<void> => {
  const known = open.get(run);
  open.delete(run);
  if (!known || !(await known.stage.ends())) return;
  // What a stage has left running gets its turn, and may throw, before the run counts as sound.
  await setImmediate();
  const ending = await known.stage.end(sound);
  await setImmediate();
  if (asked) channel.postMessage({ endedRun: run, ending } satisfies Ended);
};

channel.onmessage = (message: unknown) => {
  const { data } = message as { data: EndOfRun | Ended };
  // The answers of other threads come here too.
  if ('run' in data) void endRun(data);
};
// It must not keep a thread alive that is to end.
channel.unref();

/** The stage as this run wants it; `opened` when it was not open yet. */
const openFor = ({ run, setup }: Task): { readonly known: Open; readonly opened: boolean } => {
  const known = open.get(run);
  if (known) return { known, opened: false };
  if (!setup) throw new Error('this thread was not told what to do');
  const { layout, memory } = setup;
  const batches = memory.map((slab, i) => new Batch(i, layout, slab));
  const made = { batches, stage: openStage(setup) };
  open.set(run, made);
  return { known: made, opened: true };
};

export default async (task: Task): Promise<Outcome> => {
  Atomics.store(begunFlag, 0, 1);
  const { known, opened } = openFor(task);
  const outcome = await known.stage.perform(known.batches[task.slab] as Batch);
  return opened ? { ...outcome, opened, ends: await known.stage.ends() } : outcome;
};
