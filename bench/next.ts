// A later take by full scan, 0.5 % of the clusters changed: beside borg and restic (next), and beside
// two dd that only read (scan).

import { KiB } from '../disk/index.js';
import { checkSnapshot, makeStore } from './first.js';
import { changeImage } from './image.js';
import { type Job, type Result, resultOf } from './job.js';
import { type Contender, execute, race, warm } from './measure.js';
import { borg, ddHalves, nvsnap, restic } from './peers.js';
import { checkStream } from './verify.js';

const CLUSTER = 64 * KiB;
const CHANGED_SHARE = 0.005;
/** Keeps the seeds of changes apart from that of the image. */
const CHANGE_SEED = 1000;

const tagOf = (round: number): string => `round-${round}`;

/** Changes the image before a round: every round has a next state of its own. */
const changer =
  ({ options }: Job, image: string, size: number) =>
  (round: number): void => {
    const count = Math.max(1, Math.round((size / CLUSTER) * CHANGED_SHARE));
    const seed = options.seed + CHANGE_SEED * round;
    changeImage(image, { clusterSize: CLUSTER, count, seed });
    warm(image);
  };

const oursOn = (image: string, store: string): Contender => ({
  name: 'nvsnap',
  commands: (round) => [nvsnap('take', image, store, '--tag', tagOf(round))],
});

/** A peer that holds the first state already, and how to get its last state back. */
interface Follower {
  readonly contender: Contender;
  check(round: number): Promise<void>;
}

const followWithBorg = async ({ scratch }: Job, image: string): Promise<Follower> => {
  const folder = scratch.path('borg');
  const run = (...args: string[]) => borg(folder, ...args);
  const create = (name: string) =>
    run('create', '--chunker-params', 'fixed,65536', '-C', 'lz4', `::${name}`, image);
  await execute(scratch, run('init', '--encryption', 'none', '--make-parent-dirs'));
  await execute(scratch, create('first'));
  return {
    contender: { name: 'borg', commands: (round) => [create(tagOf(round))] },
    check: (round) =>
      execute(scratch, run('extract', '--stdout', `::${tagOf(round)}`), (output) =>
        checkStream('borg create', image, output),
      ),
  };
};

const followWithRestic = async ({ scratch }: Job, image: string): Promise<Follower> => {
  const folder = scratch.path('restic');
  const run = (...args: string[]) => restic(folder, ...args);
  await execute(scratch, run('init'));
  await execute(scratch, run('backup', image));
  return {
    contender: { name: 'restic', commands: () => [run('backup', image)] },
    check: () =>
      execute(scratch, run('dump', 'latest', image), (output) =>
        checkStream('restic backup', image, output),
      ),
  };
};

export const next = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const image = await job.image(options.size);
  const store = await makeStore(job, image);
  const followers: Follower[] = [];
  if (job.has('borg')) followers.push(await followWithBorg(job, image));
  if (job.has('restic')) followers.push(await followWithRestic(job, image));
  const laps = await race(
    scratch,
    [oursOn(image, store), ...followers.map(({ contender }) => contender)],
    options.runs,
    changer(job, image, options.size),
  );
  await checkSnapshot(job, image, store, tagOf(options.runs));
  for (const { check } of followers) await check(options.runs);
  scratch.drop('borg');
  scratch.drop('restic');
  return resultOf(
    {
      case: 'next',
      title: 'next take, 0.5 % changed, full scan, beside a second archive',
      imageBytes: options.size,
      verified: laps.map(({ name }) => name),
    },
    laps,
    [
      { peer: 'borg', ratio: 3 },
      { peer: 'restic', ratio: 5 },
    ],
  );
};

export const scan = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const image = await job.image(options.big);
  const store = await makeStore(job, image);
  const dd: Contender = { name: 'dd', commands: () => ddHalves(image, options.big) };
  const laps = await race(
    scratch,
    job.has('dd') ? [oursOn(image, store), dd] : [oursOn(image, store)],
    options.runs,
    changer(job, image, options.big),
  );
  await checkSnapshot(job, image, store, tagOf(options.runs));
  return resultOf(
    {
      case: 'scan',
      title: 'next take, 0.5 % changed, full scan, beside two dd of=/dev/null',
      imageBytes: options.big,
      verified: ['nvsnap'],
    },
    laps,
    [{ peer: 'dd', ratio: 0.5 }],
  );
};
