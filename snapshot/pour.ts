// One snapshot's bytes on their way out of the store, all of those that are wanted.
//
//     map ─▶ fetch ─▶ decode ─▶ verify ─▶ deliver

import type { Extent } from '../disk/index.js';
import { type Batch, Kind, run, type StageReport, type Step } from '../pipeline/index.js';
import type { DigestReader, Snapshot, Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { SnapshotMap } from './map.js';
import { batchBytesFor, isLarge, planCrews, planSlabs, readingLayout } from './plan.js';
import { digestOptionsOf, linksOf } from './plugged.js';
import type { RangeBag } from './ranges.js';
import { bytesIn } from './reading.js';
import { type RunOptions, withPools } from './run-options.js';
import { codecOf, decoderOf, imageSizeOf } from './store.js';

/** What is to be poured where. */
export interface Pouring {
  readonly verb: string;
  readonly store: Store;
  readonly snapshot: Snapshot;
  /** To hold the bytes against; undefined where there are none. */
  readonly digests: DigestReader | undefined;
  /** Image bytes that are wanted. */
  readonly window: Extent;
  /** Only these parts of it; on cluster boundaries, in ascending order. */
  readonly parts?: readonly Extent[] | undefined;
  /** Where it goes, and how. */
  readonly output: Omit<stages.DeliverOptions, 'start' | 'end'>;
  /** Gathers what is damaged; left out, damage ends the run. */
  readonly bad?: RangeBag | undefined;
  /** Hears of image bytes that read as zeros and come in no batch. */
  zeros(range: Extent): void | Promise<unknown>;
  /** Hears of every batch when it has been delivered. */
  delivered?(batch: Batch): void;
}

/** The stages that read a snapshot out of its store, up to `verify`. */
export const readingSteps = (
  { store, digests, bad }: Pick<Pouring, 'store' | 'digests' | 'bad'>,
  crew: ReturnType<typeof planCrews>,
): Step[] => {
  const packed = codecOf(store) !== 'none';
  const tolerant = bad !== undefined;
  const made = digests && store.facts && digestOptionsOf(store);
  const decoder = { codec: decoderOf(store), digests: made, tolerant, ...linksOf(store) };
  return [
    stages.fetch(store.file.spec, crew('fetch', 1, true)),
    stages.decode(decoder, crew('decode', Number.POSITIVE_INFINITY, packed)),
    ...(made ? [stages.verify({ ...made, tolerant }, crew('verify', 1, false))] : []),
  ];
};

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
  const { store, snapshot, window, digests, output, bad } = pouring;
  const parts = pouring.parts ?? [window];
  const { clusterSize } = store.geometry;
  const bytes = bytesIn(parts);
  const batchBytes = batchBytesFor(clusterSize, bytes, options.memory);
  const batches = Math.ceil(bytes / batchBytes) + parts.length;
  const crew = planCrews(options.threads, batches, isLarge(bytes));
  const inOrder = output.manner === 'stream';
  const usual = codecOf(store) === 'none' ? 2 : 1;
  const delivery = crew('deliver', usual, true);
  const steps = [
    ...readingSteps(pouring, crew),
    stages.deliver({ ...output, ...window }, inOrder ? { ...delivery, threads: 1 } : delivery),
  ];
  const slabs = planSlabs(readingLayout(clusterSize, batchBytes), steps, batches, options.memory);
  const map = new SnapshotMap(store, snapshot, {
    size: imageSizeOf(store, snapshot),
    window,
    digests,
    zerosToo: inOrder ? 'last' : undefined,
    damaged: bad && ((start, end) => bad.add(start, end)),
  });
  const reports = await withPools(options, (pools) =>
    run({
      verb: pouring.verb,
      slabs,
      pools,
      source: async function* (skip) {
        const zeros = async (start: number, end: number): Promise<void> => {
          await pouring.zeros({ start, end });
          skip(end - start);
        };
        for (const part of parts) yield* map.batchesOf(part, slabs, zeros);
      },
      steps,
      sink: (batch) => {
        if (bad) noteDamage(batch, window, bad);
        pouring.delivered?.(batch);
      },
      totalBytes: bytes,
      events: options.events,
      signal: options.signal,
    }),
  );
  return { zeroBytes: map.zeroBytes, stages: reports };
};
