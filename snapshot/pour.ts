// One snapshot's bytes on their way out of the store, all of those that are wanted.
//
//     map ─▶ fetch ─▶ decode ─▶ verify ─▶ deliver

import type { Extent } from '../disk/index.js';
import { type Batch, Kind, run, type StageReport } from '../pipeline/index.js';
import * as stages from '../stages/index.js';
import { planReading, type Reading } from './from-store.js';
import type { RangeBag } from './ranges.js';
import { type RunOptions, withPools } from './run-options.js';
import { codecOf } from './store.js';

/** What is to be poured where. */
export interface Pouring extends Omit<Reading, 'zerosToo' | 'mostBatchBytes'> {
  readonly verb: string;
  readonly window: Extent;
  /** Where it goes, and how. */
  readonly output: Omit<stages.DeliverOptions, 'start' | 'end'>;
  zeros(range: Extent): void | Promise<unknown>;
  /** Called when all is planned: from here on the output may be changed. */
  begin?(): void;
  /** Hears of every batch when it has been delivered. */
  delivered?(batch: Batch): void;
}

/** Notes the damaged clusters of a batch. */
export const noteDamage = (batch: Batch, { start, end }: Extent, bad: RangeBag): void => {
  if (!batch.has(Kind.damaged)) return;
  const { clusterSize } = batch.layout;
  for (let i = 0; i < batch.count; i += 1) {
    if (batch.kinds[i] !== Kind.damaged) continue;
    const at = batch.offset + i * clusterSize;
    bad.add(Math.max(start, at), Math.min(end, at + batch.lengthOf(i)));
  }
};

/** Wanted bytes of the clusters of a batch that are not `same`, and not damaged. */
export const liveBytes = (batch: Batch, { start, end }: Extent): number => {
  const { clusterSize } = batch.layout;
  let bytes = 0;
  for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
    if (batch.kinds[i] === Kind.damaged) continue;
    const at = batch.offset + i * clusterSize;
    bytes += Math.min(end, at + batch.lengthOf(i)) - Math.max(start, at);
  }
  return bytes;
};

/** What was poured. */
export interface Poured {
  /** Image bytes of the window that read as zeros. */
  readonly zeroBytes: number;
  readonly stages: readonly StageReport[];
}

/** Reads the snapshot and delivers it. */
export const pour = async (pouring: Pouring, options: RunOptions): Promise<Poured> => {
  const { store, window, output, bad } = pouring;
  const inOrder = output.manner === 'stream';
  const usual = codecOf(store) === 'none' ? 2 : 1;
  const plan = planReading(
    { ...pouring, zerosToo: inOrder ? 'last' : undefined },
    options,
    (crew) => {
      const delivery = crew('deliver', usual, true);
      return [
        stages.deliver({ ...output, ...window }, inOrder ? { ...delivery, threads: 1 } : delivery),
      ];
    },
  );
  pouring.begin?.();
  const reports = await withPools(options, (pools) =>
    run({
      ...plan,
      verb: pouring.verb,
      pools,
      sink: (batch) => {
        if (bad) noteDamage(batch, window, bad);
        pouring.delivered?.(batch);
      },
      events: options.events,
      signal: options.signal,
    }),
  );
  return { zeroBytes: plan.map.zeroBytes, stages: reports };
};
