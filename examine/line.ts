// The lines in which stages are tried: of the engine's own stages what comes before them in a take.

import {
  type Batch,
  type Gap,
  Kind,
  type MainStep,
  type StageUse,
  type Step,
} from '../pipeline/index.js';
import * as stages from '../stages/index.js';
import type { LineSetting, Wear } from './subject.js';
import type { Watch } from './watch.js';

/** A stage of the engine's, watched, in threads of its own from the start. */
export const watched = (use: StageUse, watch: Watch, threads: number): StageUse => ({
  ...use,
  ...watch.wrap(use),
  threads,
  beginsHere: false,
});

const SECTOR_BYTES = 512;
const GONE = 0x5a;

/** What storing and fetching does to payloads: they end with a sector, and where they were decoded from is gone. */
const age = (batch: Batch, wear: Wear | undefined): void => {
  const { packed, starts, lengths, layout } = batch;
  for (let i = 0; i < batch.count; i += 1) {
    if (batch.kinds[i] !== Kind.packed) continue;
    batch.cluster(i).fill(GONE);
    const [start, length] = [starts[i] as number, lengths[i] as number];
    const cluster = batch.offset / layout.clusterSize + i;
    lengths[i] = wear
      ? wear(cluster, packed, start, length)
      : Math.min(Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES, packed.length - start);
  }
};

const unpack = (batch: Batch): void => {
  for (let i = 0; i < batch.count; i += 1) {
    if (batch.kinds[i] === Kind.packed) batch.kinds[i] = Kind.plain;
  }
};

/** From what encodes to what decodes it again. */
export const codingSteps = (
  encode: StageUse,
  decode: StageUse,
  { wear, digests }: LineSetting,
): Step[] => [
  encode,
  { name: 'store', main: (batch) => age(batch, wear) },
  decode,
  ...(wear ? [stages.verify({ ...digests, tolerant: true }, { threads: 1, early: false })] : []),
  { name: 'unpack', main: unpack },
];

/** Marks clusters of a content that came by before as twins of it. */
const twinStep = (): MainStep => {
  const known = new Set<string>();
  return {
    name: 'twin',
    main: (batch) => {
      for (let i = 0; i < batch.count; i += 1) {
        if (batch.kinds[i] !== Kind.plain) continue;
        const digest = batch.digests.toString('latin1', 16 * i, 16 * (i + 1));
        if (known.has(digest)) batch.kinds[i] = Kind.twin;
        else known.add(digest);
      }
    },
  };
};

const ONE = { threads: 1, early: false };

/** What stands before a gap of a take. */
export const stepsBefore = (gap: Gap, packed: boolean, { digests }: LineSetting): Step[] => {
  if (gap === 'before:dedup') return [];
  const steps: Step[] = [stages.dedup(digests, ONE)];
  if (gap === 'before:pad') return steps;
  steps.push(stages.pad(ONE));
  if (gap === 'before:compress') return steps;
  steps.push(twinStep());
  if (packed) steps.push(stages.compress({ codec: 'zstd', level: undefined }, ONE));
  return steps;
};

/** Gives places in a store, as they come. */
export const placeStep = (): MainStep => {
  let next = 0;
  const give = (clusterSize: number, length: number, aligned: boolean): number => {
    const place = aligned ? Math.ceil(next / clusterSize) * clusterSize : next;
    next = place + length;
    return place;
  };
  return {
    name: 'place',
    main: (batch) => {
      const { clusterSize } = batch.layout;
      for (let i = 0; i < batch.count; i += 1) {
        const kind = batch.kinds[i];
        if (kind === Kind.plain) batch.places[i] = give(clusterSize, clusterSize, true);
        if (kind === Kind.packed)
          batch.places[i] = give(clusterSize, batch.lengths[i] as number, false);
      }
    },
  };
};
