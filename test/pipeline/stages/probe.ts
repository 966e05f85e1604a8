// A stage that does as it is told: waits, counts, and fails in every way a stage can fail.

import { setTimeout as sleep } from 'node:timers/promises';
import { fault } from '../../../disk/index.js';
import { type Batch, type Desk, stage } from '../../../pipeline/index.js';

export type Failure =
  | 'throws'
  | 'throws a word'
  | 'throws a fault'
  | 'rejects'
  | 'throws later'
  | 'rejects later'
  | 'exits'
  | 'exits later';

export interface ProbeOptions {
  /** Int32 counters, see `Count`; every thread of the stage adds to them. */
  readonly counts: SharedArrayBuffer;
  /** Longest wait per batch in milliseconds; how long exactly depends on the batch. */
  readonly waitMs?: number;
  /** Keeps its thread busy for so long per batch, in milliseconds. */
  readonly busyMs?: number;
  /** Waits until the run is cancelled. */
  readonly hangs?: boolean;
  /** Where to fail: the batch at this image offset. */
  readonly at?: number;
  readonly failure?: Failure;
  readonly failsToOpen?: boolean;
}

/** What the counters count. */
export const Count = {
  begun: 0,
  ended: 1,
  atOnce: 2,
  mostAtOnce: 3,
  opened: 4,
} as const;
export const COUNTERS = 5;

const fail = (failure: Failure): void | Promise<void> => {
  switch (failure) {
    case 'throws':
      throw new Error('it broke');
    case 'throws a word':
      // biome-ignore lint/style/useThrowOnlyError: what a careless stage may do
      throw 'it broke';
    case 'throws a fault':
      throw fault('disk-full', { path: 'somewhere' });
    case 'rejects':
      return Promise.reject(new Error('it broke'));
    case 'throws later':
      setImmediate(() => {
        throw new Error('it broke');
      });
      return;
    case 'rejects later':
      void Promise.resolve().then(() => Promise.reject(new Error('it broke')));
      return;
    case 'exits':
      return process.exit(7);
    case 'exits later':
      setImmediate(() => process.exit(7));
      return;
  }
};

const open = (options: ProbeOptions, desk: Desk) => {
  const counts = new Int32Array(options.counts);
  if (options.failsToOpen) throw new Error('it does not open');
  Atomics.add(counts, Count.opened, 1);
  return {
    async batch(batch: Batch): Promise<void> {
      const index = batch.offset / batch.layout.clusterSize / batch.layout.clusters;
      Atomics.add(counts, Count.begun, 1);
      const now = Atomics.add(counts, Count.atOnce, 1) + 1;
      if (now > Atomics.load(counts, Count.mostAtOnce))
        Atomics.store(counts, Count.mostAtOnce, now);
      // Later batches often take less time than earlier ones: order must not come from luck.
      if (options.waitMs) await sleep((options.waitMs * ((index * 7) % 5)) / 4);
      if (options.busyMs)
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, options.busyMs);
      while (options.hangs && !desk.cancelled()) await sleep(1);
      if (options.at === batch.offset && options.failure) await fail(options.failure);
      batch.data.fill(index, 0, batch.length);
      Atomics.sub(counts, Count.atOnce, 1);
      Atomics.add(counts, Count.ended, 1);
    },
  };
};

export default stage<ProbeOptions>({ name: 'probe', open });
