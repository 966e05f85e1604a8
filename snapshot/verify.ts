// verify: reads what is stored for the snapshots and holds it against the digests made when they were taken.
//
//     sweep ─▶ fetch ─▶ decode ─▶ verify

import { Fault, fault, openDigester } from '../disk/index.js';
import { type Batch, Kind, run, type StageReport, type Step } from '../pipeline/index.js';
import { DigestReader, type Snapshot, type Store, type StoreFacts } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { usableSnapshot } from './names.js';
import {
  batchBytesFor,
  checkThreadNames,
  isLarge,
  planCrews,
  planSlabs,
  readingLayout,
} from './plan.js';
import { type RunOptions, withPools } from './run-options.js';
import { asOwn, codecOf, decoderOf, withStore } from './store.js';
import { Sweep, type Swept } from './sweep.js';

export interface VerifyOptions extends RunOptions {
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
}

/** A piece of some snapshots that cannot be brought back as it was taken. */
export interface Damage {
  /** Image bytes [start, start + length). */
  readonly start: number;
  readonly length: number;
  readonly problem: string;
  /** Tags of the snapshots that it hurts. */
  readonly snapshots: readonly string[];
}

/** What a verification found. Sizes in bytes, times in milliseconds. */
export interface VerifyResult {
  readonly store: string;
  /** Tags of the snapshots looked at. */
  readonly snapshots: readonly string[];
  /** Tags of those that have no digests, since another program made them. */
  readonly unverifiable: readonly string[];
  /** Stored clusters that were read and held against their digests, and the image bytes they are. */
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

const MAX_DAMAGE = 1000;
const MISMATCH = 'what is stored does not match the digest made when it was taken';

/** Gathers damage, and finds out whom else it hurts. */
class Casualties {
  readonly #store: Store;
  readonly #swept: readonly Swept[];
  readonly found: Damage[] = [];
  clusters = 0;

  constructor(store: Store, swept: readonly Swept[]) {
    this.#store = store;
    this.#swept = swept;
  }

  /** Snapshots whose entry for a cluster is the same. */
  #sharing(sweep: Sweep, owner: Swept, cluster: number, hi: number, lo: number): string[] {
    const { l2Entries } = this.#store.geometry;
    const slot = cluster % l2Entries;
    return this.#swept
      .filter((other) => {
        if (other === owner) return true;
        try {
          const table = sweep.table(other, Math.floor(cluster / l2Entries));
          return table?.hi(slot) === hi && table.lo(slot) === lo && (hi | lo) !== 0;
        } catch {
          return false; // Its table is damaged itself, which is reported as such.
        }
      })
      .map(({ snapshot }) => snapshot.entry.tag);
  }

  add(
    sweep: Sweep,
    owner: Swept,
    first: number,
    count: number,
    problem: string,
    [hi, lo]: readonly [number, number],
  ): void {
    this.clusters += count;
    if (this.found.length >= MAX_DAMAGE) return;
    const { clusterSize } = this.#store.geometry;
    const start = first * clusterSize;
    const length = Math.min(count * clusterSize, owner.size - start);
    const snapshots = this.#sharing(sweep, owner, first, hi, lo);
    const last = this.found.at(-1);
    if (
      last?.problem === problem &&
      last.start + last.length === start &&
      last.snapshots.join('\n') === snapshots.join('\n')
    ) {
      this.found[this.found.length - 1] = { ...last, length: last.length + length };
    } else this.found.push({ start, length, problem, snapshots });
  }
}

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

/** The snapshots as they can be swept; those whose own digests are damaged are reported as a whole. */
const openSwept = (
  store: Store,
  facts: StoreFacts,
  chosen: readonly Snapshot[],
): { swept: Swept[]; lost: Damage[] } => {
  const digester = openDigester(facts.digest, facts.seed);
  const swept: Swept[] = [];
  const lost: Damage[] = [];
  for (const snapshot of chosen) {
    const own = asOwn(snapshot);
    if (!own) continue;
    try {
      const digests = new DigestReader(store, own, digester);
      swept.push({ snapshot, l1: store.l1(own.entry), digests, size: own.record.imageSize });
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      const problem = String(error.details.problem ?? error.message);
      lost.push({ start: 0, length: own.record.imageSize, problem, snapshots: [own.entry.tag] });
    }
  }
  return { swept, lost };
};

const stepsFor = (
  store: Store,
  facts: StoreFacts,
  { threads }: VerifyOptions,
  bytes: number,
): Step[] => {
  const crew = planCrews(threads, Number.POSITIVE_INFINITY, isLarge(bytes));
  const digests = { algorithm: facts.digest, seed: facts.seed };
  const packed = codecOf(store) !== 'none';
  const decoder = { codec: decoderOf(store), digests, tolerant: true };
  return [
    stages.fetch(store.file.spec, crew('fetch', 1, true)),
    stages.decode(decoder, crew('decode', Number.POSITIVE_INFINITY, packed)),
    stages.verify({ ...digests, tolerant: true }, crew('verify', packed ? 1 : 2, !packed)),
  ];
};

type SweptUp = Pick<
  VerifyResult,
  'clusters' | 'bytes' | 'complete' | 'damagedClusters' | 'damage' | 'stages'
>;

/** From a random place on, for so many seconds. */
const roundTrip = (seconds: number) => {
  const end = performance.now() + seconds * 1000;
  return { from: Math.random(), isOver: () => performance.now() >= end };
};

/** Sweeps the snapshots; returns what it read and what was damaged. */
const sweepAll = async (
  store: Store,
  facts: StoreFacts,
  chosen: readonly Snapshot[],
  options: VerifyOptions,
): Promise<SweptUp> => {
  const { clusterSize } = store.geometry;
  const { swept, lost } = openSwept(store, facts, chosen);
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
  const steps = stepsFor(store, facts, options, Math.min(totalBytes, store.file.allocated()));
  const batches = Math.ceil(totalBytes / batchBytes);
  const slabs = planSlabs(readingLayout(clusterSize, batchBytes), steps, batches, options.memory);
  const counts = { clusters: 0, bytes: 0 };
  const record = (batch: Batch): void => {
    for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
      counts.clusters += 1;
      counts.bytes += batch.lengthOf(i);
      if (batch.kinds[i] !== Kind.damaged) continue;
      const cluster = batch.offset / clusterSize + i;
      const owner = sweep.ownerOf(batch);
      const { l2Entries } = store.geometry;
      const table = sweep.table(owner, Math.floor(cluster / l2Entries));
      const slot = cluster % l2Entries;
      casualties.add(sweep, owner, cluster, 1, MISMATCH, [
        table?.hi(slot) ?? 0,
        table?.lo(slot) ?? 0,
      ]);
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
  return withStore(options.store, async (store) => {
    const { facts } = store;
    const asked = options.snapshots ?? [];
    const chosen =
      asked.length === 0
        ? store.snapshots
        : [...new Set(asked.map((wanted) => usableSnapshot(store, wanted)))];
    for (const { damage } of chosen) if (damage) throw damage;
    const foreign = chosen.filter(({ record }) => record === undefined);
    const swept = facts
      ? await sweepAll(store, facts, chosen, options)
      : { clusters: 0, bytes: 0, complete: true, damagedClusters: 0, damage: [], stages: [] };
    return {
      store: options.store,
      snapshots: chosen.map(({ entry }) => entry.tag),
      unverifiable: foreign.map(({ entry }) => entry.tag),
      ...swept,
      elapsedMs: Math.round(performance.now() - began),
    };
  });
};
