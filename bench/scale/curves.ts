// Curves: the same command as one thing after another changes, every point in turn in each round.

import { availableParallelism } from 'node:os';
import { formatSize, KiB, MiB } from '../../disk/index.js';
import {
  checkSnapshot,
  copyStore,
  FIRST_TAG,
  makeStore,
  ours,
  STORE,
  settle,
  takeFirst,
} from '../commands/stores.js';
import type { Job } from '../job.js';
import { digestOf } from '../measure/check.js';
import { execute } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import type { CaseName } from '../options.js';
import { type Axis, type Result, resultOf } from '../result.js';
import type { Advance, Subject } from '../subject.js';
import { PATTERNS } from '../workload/change.js';

const NEXT_TAG = 'next';
const WORK = 'curve.qcow2';
/** Curves are drawn with half of the image, since there are many points. */
const SHARE = 0.5;

/** One point of a curve. */
interface Point {
  readonly contender: Contender;
  /** Proves what was made; resolves to its digest. */
  check(): Promise<string>;
}

const draw = async (
  job: Job,
  name: CaseName,
  title: string,
  axis: Axis,
  points: readonly Point[],
  work: number,
): Promise<Result> => {
  const laps = await race(
    job.scratch,
    points.map(({ contender }) => contender),
    { rounds: job.options.rounds, work },
  );
  const digests: string[] = [];
  for (const { contender, check } of points) {
    // What lies there is of whoever ran last.
    await contender.prepare?.(1);
    for (const command of contender.commands(1)) await execute(job.scratch, command);
    digests.push(await check());
  }
  for (const file of [WORK, STORE]) job.scratch.drop(file);
  return resultOf(
    { level: 'scale', case: name },
    {
      title,
      axis,
      laps,
      verified: points.map(({ contender }) => `${contender.name} ${contender.at}`),
      digest: digestOf(...digests),
    },
  );
};

/** A first take, with these words more. */
const firstPoint = (
  job: Job,
  image: string,
  at: number | string,
  compression: string,
  ...more: readonly string[]
): Point => {
  const store = job.scratch.path(WORK);
  return {
    contender: {
      name: 'first take',
      at,
      prepare: () => {
        job.scratch.drop(WORK);
        settle(job, image);
      },
      commands: () => [takeFirst(job, image, store, compression, ...more)],
      outputs: () => [store],
    },
    check: () => checkSnapshot(job, image, store, FIRST_TAG),
  };
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
  return {
    contender: {
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
    check: async () => {
      const digest = await checkSnapshot(job, subject.path, store, NEXT_TAG);
      subject.reset();
      return digest;
    },
  };
};

const subjectOf = (job: Job): Promise<Subject> =>
  job.subject(Math.max(MiB, Math.floor((job.options.size * SHARE) / MiB) * MiB));

/** First and next takes of images of several sizes. */
export const bySize = async (job: Job): Promise<Result> => {
  const laps: Result['laps'][number][] = [];
  const digests: string[] = [];
  const verified: string[] = [];
  const { rounds, size } = job.options;
  for (const share of [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]) {
    const subject = await job.subject(Math.max(MiB, Math.floor((size * share) / MiB) * MiB));
    const base = await makeStore(job, subject.path);
    const points = [
      firstPoint(job, subject.path, subject.size, 'zstd'),
      nextPoint(job, subject, base, subject.size, undefined),
    ];
    const contenders = points.map(({ contender }) => contender);
    laps.push(...(await race(job.scratch, contenders, { rounds, work: subject.size })));
    for (const { contender, check } of points) {
      await contender.prepare?.(1);
      for (const command of contender.commands(1)) await execute(job.scratch, command);
      digests.push(await check());
      verified.push(`${contender.name} ${formatSize(subject.size)}`);
    }
  }
  for (const file of [WORK, STORE]) job.scratch.drop(file);
  return resultOf(
    { level: 'scale', case: 'by-size' },
    {
      title: 'by size of the image',
      axis: { label: 'size of the image', kind: 'bytes' },
      laps: laps.toSorted((a, b) => a.name.localeCompare(b.name)),
      verified,
      digest: digestOf(...digests),
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
const CODECS: readonly (readonly [codec: string, level?: number])[] = [
  ['none'],
  ['lz4'],
  ['zstd', -20],
  ['zstd', -5],
  ['zstd', -1],
  ['zstd', 1],
  ['zstd', 3],
  ['zstd', 9],
  ['zlib', 1],
  ['zlib', 6],
];

export const byCodec = async (job: Job): Promise<Result> => {
  const subject = await subjectOf(job);
  const points = CODECS.map(([codec, level]) =>
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
  const result = await draw(job, 'by-threads', title, axis, points, subject.size);
  return { ...result, laps: result.laps.toSorted((a, b) => a.name.localeCompare(b.name)) };
};
