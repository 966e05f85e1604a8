// Bringing a copy of a snapshot up to date: the copy is read and held against the snapshot's digests, and only
// what differs is fetched from the store.
//
//     copy ─▶ scan ─▶ dedup ─▶ locate ─▶ fetch ─▶ decode ─▶ verify ─▶ deliver

import {
  alignExtents,
  dataExtents,
  type Extent,
  intersectExtents,
  unionExtents,
} from '../disk/index.js';
import { type Batch, type MainStep, run, type StageReport } from '../pipeline/index.js';
import type { DigestReader, Snapshot, Store, StoreFacts } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { readingSteps } from './from-store.js';
import { SnapshotMap } from './map.js';
import type { Output } from './output.js';
import { liveBytes, noteDamage } from './pour.js';
import type { RangeBag } from './ranges.js';
import { planComparing } from './reading.js';
import { type RunOptions, withPools } from './run-options.js';
import { imageSizeOf } from './store.js';

export const IN_PLACE_STAGES = ['scan', 'dedup', 'fetch', 'decode', 'verify', 'deliver'] as const;

/** A copy and what it is to become. */
export interface Update {
  readonly store: Store;
  readonly facts: StoreFacts;
  readonly snapshot: Snapshot;
  readonly digests: DigestReader;
  readonly window: Extent;
  readonly output: Output;
  /** Gathers what is damaged; left out, damage ends the run. */
  readonly bad?: RangeBag | undefined;
}

/** What was done to the copy. */
export interface Updated {
  /** Image bytes that differed and are now the snapshot's. */
  readonly changedBytes: number;
  readonly stages: readonly StageReport[];
}

/** Ranges that may differ, on cluster boundaries: whatever is not zero here or there. */
const candidates = ({ store, snapshot, digests, window, output }: Update): Extent[] => {
  const { clusterSize } = store.geometry;
  const size = imageSizeOf(store, snapshot);
  const present = [
    ...alignExtents(dataExtents(output.spec.fd, { start: 0, end: size }), clusterSize, size),
  ];
  const runs = digests.dataRuns(0, store.geometry.clusters(size));
  const stored = [...runs].map(([from, to]) => ({
    start: from * clusterSize,
    end: Math.min(size, to * clusterSize),
  }));
  const wanted = [...alignExtents([window], clusterSize, size)];
  return [...intersectExtents([...unionExtents(present, stored)], wanted)];
};

/** locate: what differs is given its place in the store. */
const locateStep = (map: SnapshotMap): MainStep => ({
  name: 'locate',
  main: (batch: Batch) => {
    const locator = map.locator(batch);
    for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
      map.locate(batch, i, locator);
    }
  },
});

/** Makes the copy the snapshot's, as far as it is wanted. */
export const updateFrom = async (update: Update, options: RunOptions): Promise<Updated> => {
  const { store, snapshot, digests, window, output, bad } = update;
  const size = imageSizeOf(store, snapshot);
  const extents = candidates(update);
  const { path, fd } = output.spec;
  const map = new SnapshotMap(store, snapshot, {
    size,
    window,
    digests,
    damaged: bad && ((start, end) => bad.add(start, end)),
  });
  const { spec, manner, shift } = output;
  const image = { path, fd, size, seekable: true };
  const plan = planComparing({ image, store, digests, extents }, options, (crew) => [
    locateStep(map),
    ...readingSteps(update, crew),
    stages.deliver({ output: spec, manner, shift, ...window }, crew('deliver', 1, false)),
  ]);
  output.begin();
  let changedBytes = 0;
  const reports = await withPools(options, (pools) =>
    run({
      ...plan,
      verb: 'restore',
      pools,
      sink: (batch) => {
        if (bad) noteDamage(batch, window, bad);
        changedBytes += liveBytes(batch, window);
      },
      events: options.events,
      signal: options.signal,
    }),
  );
  return { changedBytes, stages: reports };
};
