// Curves: the same command as one thing after another changes, every point in turn in each round.

import { availableParallelism } from 'node:os';
import { KiB, MiB } from '../../disk/index.js';
import {
  checkSnapshot,
  copyStore,
  FIRST_TAG,
  makeStore,
  ours,
  STORE,
  takeFirst,
} from '../commands/stores.js';
import type { Job } from '../job.js';
import { CODECS } from '../kernels/codecs.js';
import { digestOf } from '../measure/check.js';
import { settle } from '../measure/files.js';
import { type Contender, race } from '../measure/race.js';
import type { CaseName } from '../options.js';
import { type Axis, type Result, resultOf } from '../result.js';
import type { Advance, Subject } from '../subject.js';
import { PATTERNS } from '../workload/change.js';

const NEXT_TAG = 'next';
const WORK = 'curve.qcow2';
/** Curves are drawn with half of the image, since there are many points. */
const SHARE = 0.5;

/** Proves what a point of a curve has made; resolves to its digest. */
type Prove = () => Promise<string>;

/** A point of a curve: a contender that proves itself, and tells with what digest. */
const point = (contender: Contender, prove: Prove, digests: string[]): Contender => ({
  ...contender,
  prove: async () => {
    digests.push(await prove());
  },
});

/** A contender, and its proof. */
type Point = readonly [contender: Contender, prove: Prove];

/** Lets points run in turn. */
const drawPoints = async (
  job: Job,
  points: readonly Point[],
  work: number,
): Promise<Pick<Result, 'laps' | 'verified' | 'digest'>> => {
  const digests: string[] = [];
  const { laps } = await race(
    job.scratch,
    points.map(([contender, prove]) => point(contender, prove, digests)),
    { rounds: job.options.rounds, work },
  );
  for (const file of [WORK, STORE]) job.scratch.drop(file);
  return {
    laps: laps.toSorted((a, b) => a.name.localeCompare(b.name)),
    verified: laps.map(({ name, at }) => `${name} ${at}`),
    digest: digestOf(...digests),
  };
};

const draw = async (
  job: Job,
  name: CaseName,
  title: string,
  axis: Axis,
  points: readonly Point[],
  work: number,
): Promise<Result> =>
  resultOf(
    { level: 'scale', case: name },
    { title, axis, ...(await drawPoints(job, points, work)) },
  );

/** A first take, with these words more. */
const firstPoint = (
  job: Job,
  image: string,
  at: number | string,
  compression: string,
  ...more: readonly string[]
): Point => {
  const store = job.scratch.path(WORK);
  return [
    {
      name: 'first take',
      at,
      prepare: () => {
        job.scratch.drop(WORK);
        settle(job, image);
      },
      commands: () => [takeFirst(job, image, store, compression, ...more)],
      outputs: () => [store],
    },
    () => checkSnapshot(job, image, store, FIRST_TAG),
  ];
};

/** A next take on a copy of a store, after the image has changed so. */
const nextPoint = (
  job: Job,
  subject: Subject,
  base: string,
  at: number | string,
  how: Advance | undefined,
  ...more: readonly string[]
): Point => {
  const store = job.scratch.path(WORK);
  return [
    {
      name: 'next take',
      at,
      prepare: (round) => {
        subject.reset();
        subject.advance(round, how);
        copyStore(base, store);
        settle(job, subject.path);
      },
      commands: () => [ours(job, 'take', subject.path, store, '--tag', NEXT_TAG, ...more)],
    },
    () => checkSnapshot(job, subject.path, store, NEXT_TAG),
  ];
};

const sizeOf = ({ options }: Job, share: number): number =>
  Math.max(MiB, Math.floor((options.size * share) / MiB) * MiB);

const subjectOf = (job: Job): Promise<Subject> => job.subject(sizeOf(job, SHARE));

/** First and next takes of images of several sizes. */
export const bySize = async (job: Job): Promise<Result> => {
  const parts: Pick<Result, 'laps' | 'verified' | 'digest'>[] = [];
  for (const share of [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]) {
    const subject = await job.subject(sizeOf(job, share));
    const base = await makeStore(job, subject.path);
    const points = [
      firstPoint(job, subject.path, subject.size, 'zstd'),
      nextPoint(job, subject, base, subject.size, undefined),
    ];
    parts.push(await drawPoints(job, points, subject.size));
  }
  return resultOf(
    { level: 'scale', case: 'by-size' },
    {
      title: 'by size of the image',
      axis: { label: 'size of the image', kind: 'bytes' },
      laps: parts.flatMap(({ laps }) => laps).toSorted((a, b) => a.name.localeCompare(b.name)),
      verified: parts.flatMap(({ verified }) => verified),
      digest: digestOf(...parts.map(({ digest }) => digest)),
    },
  );
};

/** Next takes after more and more has changed. */
export const byRate = async (job: Job): Promise<Result> => {
  const subject = await subjectOf(job);
  const base = await makeStore(job, subject.path);
  const points = [0.1, 1, 5, 20, 100].map((changed) =>
    nextPoint(job, subject, base, changed, { pattern: 'scattered', changed }),
  );
  const axis: Axis = { label: 'clusters changed', kind: 'percent' };
  return draw(job, 'by-rate', 'by rate of change', axis, points, subject.size);
};

/** Next takes after the same amount of change in several patterns. */
export const byPattern = async (job: Job): Promise<Result> => {
  const subject = await subjectOf(job);
  const base = await makeStore(job, subject.path);
  const { changed } = job.options;
  const points = PATTERNS.map((pattern) =>
    nextPoint(job, subject, base, pattern, { pattern, changed }),
  );
  const axis: Axis = { label: 'pattern of change', kind: 'names' };
  return draw(job, 'by-pattern', `by pattern of change, ${changed} %`, axis, points, subject.size);
};

export const byCluster = async (job: Job): Promise<Result> => {
  const subject = await subjectOf(job);
  const points: Point[] = [4, 16, 64, 256, 2048].map((kibibytes) =>
    firstPoint(job, subject.path, kibibytes * KiB, 'zstd', '--cluster-size', `${kibibytes}K`),
  );
  const axis: Axis = { label: 'cluster size', kind: 'bytes' };
  return draw(job, 'by-cluster', 'by cluster size', axis, points, subject.size);
};

/** Codecs and their levels. */
const WITH_NONE: readonly (readonly [codec: string, level?: number])[] = [['none'], ...CODECS];

export const byCodec = async (job: Job): Promise<Result> => {
  const subject = await subjectOf(job);
  const points = WITH_NONE.map(([codec, level]) =>
    level === undefined
      ? firstPoint(job, subject.path, codec, codec)
      : firstPoint(job, subject.path, `${codec} ${level}`, codec, `--level=${level}`),
  );
  const axis: Axis = { label: 'codec and level', kind: 'names' };
  return draw(job, 'by-codec', 'by codec and level', axis, points, subject.size);
};

/** 1, 2, 4 … and all processors, and twice as many threads. */
export const threadCounts = (): number[] => {
  const all = availableParallelism();
  const counts = new Set([all, 2 * all]);
  for (let count = 1; count < all; count *= 2) counts.add(count);
  return [...counts].sort((a, b) => a - b);
};

export const byThreads = async (job: Job): Promise<Result> => {
  const subject = await subjectOf(job);
  const base = await makeStore(job, subject.path);
  const points = threadCounts().flatMap((threads) => [
    firstPoint(job, subject.path, threads, 'zstd', `--threads=${threads}`),
    nextPoint(job, subject, base, threads, undefined, `--threads=${threads}`),
  ]);
  const axis: Axis = { label: 'threads of each stage', kind: 'count' };
  const title = `by threads, on ${availableParallelism()} processors`;
  return draw(job, 'by-threads', title, axis, points, subject.size);
};
