// verify: reads what is stored for the snapshots and holds it against the digests made when they were taken.
//
//     sweep ─▶ fetch ─▶ decode ─▶ verify
//
// Snapshots of other programs have no digests: what only they have is read and decoded.

import { Fault, fault, forgetCached } from '../disk/index.js';
import { type Batch, Kind, run, type StageReport, type Step } from '../pipeline/index.js';
import type { Snapshot, Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { Casualties, type Damage } from './casualties.js';
import { usableSnapshots } from './names.js';
import {
  batchBytesFor,
  checkThreadNames,
  isLarge,
  planCrews,
  planSlabs,
  readingLayout,
} from './plan.js';
import { digestOptionsOf, linksOf, type StageOptions, unlock } from './plugged.js';
import { type RunOptions, withPools } from './run-options.js';
import { codecOf, decoderOf, digestsOf, imageSizeOf, withStore } from './store.js';
import { Sweep, type Swept } from './sweep.js';

export type { Damage } from './casualties.js';

export interface VerifyOptions extends RunOptions, StageOptions {
  readonly store: string;
  /** Tags, "#id"s, uuid prefixes or "latest"; none for all. */
  readonly snapshots?: readonly string[] | undefined;
  /** Read so many percent of the stored clusters, at random; default all. */
  readonly sample?: number | undefined;
  /**
   * Stop after so many seconds. Then it begins at a random place and goes round, so that every part has its turn
   * when this is done again and again.
   */
  readonly timeBudget?: number | undefined;
  /** Reads what is on the disk, not what the system has in memory of it: what was written a moment ago, usually. */
  readonly fromDisk?: boolean | undefined;
}

/** What a verification found. Sizes in bytes, times in milliseconds. */
export interface VerifyResult {
  readonly store: string;
  /** Tags of the snapshots looked at. */
  readonly snapshots: readonly string[];
  /** Tags of those that have no digests, since another program made them: their content cannot be proven. */
  readonly unverifiable: readonly string[];
  /**
   * Stored clusters that were read, and the image bytes they are; all but those of the unverifiable snapshots
   * were held against their digests.
   */
  readonly clusters: number;
  readonly bytes: number;
  /** True when everything that was asked for was looked at; false when the time was over before. */
  readonly complete: boolean;
  readonly damagedClusters: number;
  /** At most 1000, in the order found; neighbours that hurt the same snapshots are one. */
  readonly damage: readonly Damage[];
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
}

export const VERIFY_STAGES = ['fetch', 'decode', 'verify'] as const;

const UNDECODABLE = 'its payload cannot be decoded';
const MISMATCH = 'what is stored does not match the digest made when it was taken';

const checkBudget = (seconds: number | undefined): void => {
  if (seconds === undefined || (Number.isFinite(seconds) && seconds > 0)) return;
  throw fault('usage', {
    problem: `${seconds} seconds are no time to verify in.`,
    advice: 'Give more than 0.',
  });
};

const checkSample = (sample: number | undefined): void => {
  if (sample === undefined || (sample > 0 && sample <= 100)) return;
  throw fault('usage', {
    problem: `${sample} is not a share in percent.`,
    advice: 'Give more than 0 and at most 100.',
  });
};

/** The snapshots as they can be swept; those whose own tables or digests are damaged are reported as a whole. */
const openSwept = (
  store: Store,
  chosen: readonly Snapshot[],
): { swept: Swept[]; lost: Damage[] } => {
  const swept: Swept[] = [];
  const lost: Damage[] = [];
  for (const snapshot of chosen) {
    const size = imageSizeOf(store, snapshot);
    try {
      const digests = digestsOf(store, snapshot);
      swept.push({ snapshot, l1: store.l1(snapshot.entry), digests, size });
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      const problem = String(error.details.problem ?? error.message);
      lost.push({ start: 0, length: size, problem, snapshots: [snapshot.entry.tag] });
    }
  }
  return { swept, lost };
};

/** `provable`: some of it has digests to be held against. */
const stepsFor = (
  store: Store,
  provable: boolean,
  { threads }: VerifyOptions,
  bytes: number,
): Step[] => {
  const crew = planCrews(threads, Number.POSITIVE_INFINITY, isLarge(bytes, 'coding'));
  const digests = provable && store.facts ? digestOptionsOf(store) : undefined;
  const packed = codecOf(store) !== 'none';
  const decoder = { codec: decoderOf(store), digests, tolerant: true, ...linksOf(store) };
  const verifiers = () => crew('verify', packed ? 1 : 2, !packed);
  return [
    stages.fetch(store.file.spec, crew('fetch', 1, true)),
    stages.decode(decoder, crew('decode', Number.POSITIVE_INFINITY, packed)),
    ...(digests ? [stages.verify({ ...digests, tolerant: true }, verifiers())] : []),
  ];
};

/** What is wrong with the path is told a moment later, by whoever opens it for reading. */
const forget = (path: string): void => {
  try {
    forgetCached(path);
  } catch {
    // So there is nothing to be forgotten.
  }
};

type SweptUp = Omit<VerifyResult, 'store' | 'snapshots' | 'unverifiable' | 'elapsedMs'>;

/** From a random place on, for so many seconds. */
const roundTrip = (seconds: number) => {
  const end = performance.now() + seconds * 1000;
  return { from: Math.random(), isOver: () => performance.now() >= end };
};

/** Sweeps the snapshots; returns what it read and what was damaged. */
const sweepAll = async (
  store: Store,
  chosen: readonly Snapshot[],
  options: VerifyOptions,
): Promise<SweptUp> => {
  const { clusterSize } = store.geometry;
  const { swept, lost } = openSwept(store, chosen);
  const casualties = new Casualties(store, swept);
  casualties.found.push(...lost);
  for (const { length } of lost) casualties.clusters += store.geometry.clusters(length);
  const { sample = 100, timeBudget } = options;
  const isChosen = sample === 100 ? () => true : () => Math.random() * 100 < sample;
  const sweep: Sweep = new Sweep(
    store,
    swept,
    { isChosen, ...(timeBudget === undefined ? {} : roundTrip(timeBudget)) },
    (...damage) => casualties.add(sweep, ...damage),
  );
  const totalBytes = swept.reduce((sum, { size }) => sum + size, 0);
  const batchBytes = batchBytesFor(clusterSize, totalBytes, options.memory);
  const provable = swept.some(({ digests }) => digests);
  const steps = stepsFor(store, provable, options, Math.min(totalBytes, store.file.allocated()));
  const batches = Math.ceil(totalBytes / batchBytes);
  const slabs = planSlabs(readingLayout(clusterSize, batchBytes), steps, batches, options.memory);
  const counts = { clusters: 0, bytes: 0 };
  const record = (batch: Batch): void => {
    for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
      counts.clusters += 1;
      counts.bytes += batch.lengthOf(i);
      if (batch.kinds[i] !== Kind.damaged) continue;
      const cluster = batch.offset / clusterSize + i;
      const problem = batch.unproven ? UNDECODABLE : MISMATCH;
      casualties.add(sweep, sweep.ownerOf(batch), cluster, 1, problem, true);
    }
  };
  const reports = await withPools(options, (pools) =>
    run({
      verb: 'verify',
      slabs,
      pools,
      source: (skip) => sweep.batches(slabs, skip),
      steps,
      sink: record,
      totalBytes,
      events: options.events,
      signal: options.signal,
    }),
  );
  const { clusters: damagedClusters, found: damage } = casualties;
  return { ...counts, complete: sweep.complete, damagedClusters, damage, stages: reports };
};

/**
 * Verifies the data of a store. Damage is in the result. Rejects with a Fault when the store cannot be opened,
 * or its tables cannot be read.
 */
export const verify = async (options: VerifyOptions): Promise<VerifyResult> => {
  const began = performance.now();
  checkThreadNames(options.threads, VERIFY_STAGES);
  checkSample(options.sample);
  checkBudget(options.timeBudget);
  if (options.fromDisk) forget(options.store);
  return withStore(options.store, async (store) => {
    await unlock(store, options);
    const chosen = usableSnapshots(store, options.snapshots ?? []);
    // What the others share with those that have digests is held against these.
    const own = chosen.filter(({ record }) => record !== undefined);
    const foreign = chosen.filter(({ record }) => record === undefined);
    const swept = await sweepAll(store, [...own, ...foreign], options);
    return {
      store: options.store,
      snapshots: chosen.map(({ entry }) => entry.tag),
      unverifiable: foreign.map(({ entry }) => entry.tag),
      ...swept,
      elapsedMs: Math.round(performance.now() - began),
    };
  });
};
