// What a cluster size costs and brings: one evolving image, a store for each size and way to look for duplicates, and
// every store takes every point in time in turn, so that a machine with other work hurts all of them alike.

import fs from 'node:fs';
import { type Dedup, restore, take, verify } from '../../snapshot/index.js';
import { warm } from '../measure/files.js';
import type { Scratch } from '../measure/scratch.js';
import { type Elsewhere, lookElsewhere } from './elsewhere.js';
import { type RoundKind, STUDY_ROUNDS } from './evolution.js';
import { EvolvingImage, type Method } from './evolving.js';

export interface StudyOptions {
  /** Bytes of the image. */
  readonly size: number;
  /** Rounds of change, and so takes after the first. */
  readonly rounds: number;
  readonly seed: number;
  /** Cluster sizes in bytes. */
  readonly sizes: readonly number[];
  /** Restores and verifications of each store; the one that took the processors least counts. */
  readonly readings: number;
}

/** What something took. */
export interface Spent {
  readonly milliseconds: number;
  /** Of processors, by all threads. */
  readonly cpuMilliseconds: number;
}

/** One take. Sizes in bytes. */
export interface Taken extends Spent {
  readonly storedClusters: number;
  readonly twinClusters: number;
  readonly storedBytes: number;
  readonly metadataBytes: number;
  /** What the file became longer by. */
  readonly grownBytes: number;
}

/** One cluster size with one way to look for duplicates. */
export interface Variant {
  readonly clusterSize: number;
  readonly dedup: Dedup;
  readonly first: Taken;
  readonly next: readonly (Taken & { readonly kind: RoundKind })[];
  /** Of the newest snapshot. */
  readonly restore: Spent;
  /** Of the whole store. */
  readonly verify: Spent;
}

export interface Study {
  readonly options: StudyOptions;
  readonly method: Method;
  readonly withSqlite: boolean;
  readonly variants: readonly Variant[];
  readonly elsewhere: readonly Elsewhere[];
}

/** Of the image, what real files fill; the rest is for the rounds and the file system. */
const FILL_SHARE = 0.6;
/** Bytes of the image per row of the database. */
const BYTES_PER_ROW = 4096;

/** A variant on its way. */
interface Running {
  readonly clusterSize: number;
  readonly dedup: Dedup;
  readonly store: string;
  readonly taken: Taken[];
  readonly restores: Spent[];
  readonly verifications: Spent[];
}

const spend = async <T>(work: () => Promise<T>): Promise<Spent & { readonly result: T }> => {
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  const result = await work();
  const { user, system } = process.cpuUsage(cpu);
  return {
    result,
    milliseconds: performance.now() - began,
    cpuMilliseconds: (user + system) / 1000,
  };
};

/** Every other round in reverse order, and each time another begins. */
const inTurn = <T>(list: readonly T[], round: number): T[] => {
  const start = (round * 7) % list.length;
  const turned = [...list.slice(start), ...list.slice(0, start)];
  return round % 2 === 0 ? turned : turned.reverse();
};

const takeOne = async (running: Running, image: string, tag: string): Promise<void> => {
  const { clusterSize, dedup, store, taken } = running;
  const before = fs.statSync(store, { throwIfNoEntry: false })?.size ?? 0;
  const { result, ...spent } = await spend(() => take({ image, store, tag, clusterSize, dedup }));
  const { storedClusters, twinClusters, storedBytes, metadataBytes, storeBytes } = result;
  taken.push({
    ...spent,
    storedClusters,
    twinClusters,
    storedBytes,
    metadataBytes,
    grownBytes: storeBytes - before,
  });
};

/** What is slower only because it is the first of this process is not measured. */
const warmUp = async (image: string, scratch: Scratch): Promise<void> => {
  await take({ image, store: scratch.path('warm.qcow2') });
  scratch.drop('warm.qcow2');
};

/** The first take is the same for both ways to look for duplicates: the second store begins as a copy. */
const takeFirst = async (all: readonly Running[], image: string): Promise<void> => {
  for (const running of all.filter(({ dedup }) => dedup === 'parent')) {
    await takeOne(running, image, 'point-0');
    const other = all.find((r) => r !== running && r.clusterSize === running.clusterSize);
    if (!other) continue;
    fs.copyFileSync(running.store, other.store, fs.constants.COPYFILE_FICLONE);
    other.taken.push(...running.taken);
  }
};

const readAll = async (
  all: readonly Running[],
  readings: number,
  scratch: Scratch,
): Promise<void> => {
  const output = scratch.path('restored');
  for (let reading = 0; reading < readings; reading += 1) {
    for (const { store, restores, verifications } of inTurn(all, reading)) {
      warm(store);
      const { result: _copy, ...restored } = await spend(() =>
        restore({ store, snapshot: 'latest', output }),
      );
      restores.push(restored);
      fs.rmSync(output);
      const { result, ...verified } = await spend(() => verify({ store }));
      if (result.damage.length > 0) throw new Error(`${store} is damaged`);
      verifications.push(verified);
    }
  }
};

const cheapest = (spent: readonly Spent[]): Spent =>
  spent.toSorted((a, b) => a.cpuMilliseconds - b.cpuMilliseconds)[0] as Spent;

const finish = (running: Running, kinds: readonly RoundKind[]): Variant => {
  const { clusterSize, dedup, restores, verifications } = running;
  const [first, ...next] = running.taken;
  if (!first) throw new Error('A study has at least one take.');
  return {
    clusterSize,
    dedup,
    first,
    next: next.map((taken, i) => ({ ...taken, kind: kinds[i] as RoundKind })),
    restore: cheapest(restores),
    verify: cheapest(verifications),
  };
};

/** Makes the image, lets it change, takes it with every variant. `say` hears what goes on. */
export const study = async (
  options: StudyOptions,
  scratch: Scratch,
  say: (sentence: string) => void,
): Promise<Study> => {
  const { size, rounds, seed, sizes } = options;
  say('making the image');
  const fill = Math.floor(size * FILL_SHARE);
  const rows = Math.ceil(size / BYTES_PER_ROW);
  const image = new EvolvingImage(scratch.folder, { bytes: size, fill, seed, rows });
  const all: Running[] = sizes.flatMap((clusterSize) =>
    (['parent', 'store'] as const).map((dedup) => ({
      clusterSize,
      dedup,
      store: scratch.path(`${clusterSize}-${dedup}.qcow2`),
      taken: [],
      restores: [],
      verifications: [],
    })),
  );
  say(`taking point 0 of ${rounds}`);
  warm(image.path);
  await warmUp(image.path, scratch);
  await takeFirst(all, image.path);
  const kinds: RoundKind[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const kind = STUDY_ROUNDS[(round - 1) % STUDY_ROUNDS.length] as RoundKind;
    kinds.push(kind);
    image.evolve(kind);
    say(`taking point ${round} of ${rounds}, ${kind}`);
    warm(image.path);
    for (const running of inTurn(all, round)) {
      await takeOne(running, image.path, `point-${round}`);
    }
  }
  say('restoring and verifying');
  await readAll(all, options.readings, scratch);
  say('looking for what lies elsewhere');
  const plain = all.filter(({ dedup }) => dedup === 'parent');
  return {
    options,
    method: image.method,
    withSqlite: image.withSqlite,
    variants: all.map((running) => finish(running, kinds)),
    elsewhere: plain.map(({ store }) => lookElsewhere(store)),
  };
};
