// A snapshot on its way out of its store: what all runs have in common that read one.
//
//     map ─▶ fetch ─▶ decode ─▶ verify ─▶ …

import type { Extent } from '../disk/index.js';
import type { Run, Step } from '../pipeline/index.js';
import type { DigestReader, Snapshot, Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { type MapUse, SnapshotMap } from './map.js';
import { batchBytesFor, isLarge, planCrews, planSlabs, readingLayout } from './plan.js';
import { digestOptionsOf, linksOf } from './plugged.js';
import type { RangeBag } from './ranges.js';
import { bytesIn } from './reading.js';
import type { RunOptions } from './run-options.js';
import { codecOf, decoderOf, imageSizeOf } from './store.js';

/** What is read. */
export interface Reading {
  readonly store: Store;
  readonly snapshot: Snapshot;
  /** To hold the bytes against; undefined where there are none. */
  readonly digests: DigestReader | undefined;
  /** Image bytes that are wanted; left out: all. */
  readonly window?: Extent | undefined;
  /** Only these parts of it; on cluster boundaries, in ascending order. */
  readonly parts?: readonly Extent[] | undefined;
  /** Gathers what is damaged; left out, damage ends the run. */
  readonly bad?: RangeBag | undefined;
  /** Which clusters come in batches although they read as zeros: the last one, all; left out: none must. */
  readonly zerosToo?: MapUse['zerosToo'];
  /** Image bytes that a batch may have at most. */
  readonly mostBatchBytes?: number | undefined;
  /** Hears of image bytes that read as zeros and come in no batch. */
  zeros?(range: Extent): void | Promise<unknown>;
}

type Crews = ReturnType<typeof planCrews>;

/** The stages that read a snapshot out of its store, up to `verify`. */
export const readingSteps = (
  { store, digests, bad }: Pick<Reading, 'store' | 'digests' | 'bad'>,
  crew: Crews,
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

/** A run that reads a snapshot, up to its sink. */
export interface ReadingPlan extends Pick<Run, 'slabs' | 'source' | 'steps' | 'totalBytes'> {
  readonly map: SnapshotMap;
}

/** Plans a run that reads a snapshot; `further` makes the steps that follow. */
export const planReading = (
  reading: Reading,
  { threads, memory }: RunOptions,
  further: (crew: Crews) => readonly Step[] = () => [],
): ReadingPlan => {
  const { store, snapshot, digests, zerosToo, bad } = reading;
  const size = imageSizeOf(store, snapshot);
  const { window = { start: 0, end: size } } = reading;
  const { parts = [window], mostBatchBytes = Number.POSITIVE_INFINITY } = reading;
  const { clusterSize } = store.geometry;
  const bytes = bytesIn(parts);
  const batchBytes = Math.min(mostBatchBytes, batchBytesFor(clusterSize, bytes, memory));
  const batches = Math.ceil(bytes / batchBytes) + parts.length;
  const crew = planCrews(threads, batches, isLarge(bytes, 'coding'));
  const steps = [...readingSteps(reading, crew), ...further(crew)];
  const slabs = planSlabs(readingLayout(clusterSize, batchBytes), steps, batches, memory);
  const damaged = bad && ((start: number, end: number) => bad.add(start, end));
  const map = new SnapshotMap(store, snapshot, { size, window, digests, zerosToo, damaged });
  return {
    slabs,
    map,
    source: async function* (skip) {
      const zeros = async (start: number, end: number): Promise<void> => {
        await reading.zeros?.({ start, end });
        skip(end - start);
      };
      for (const part of parts) yield* map.batchesOf(part, slabs, zeros);
    },
    steps,
    totalBytes: bytes,
  };
};
