// What a store is asked for in later years: where two snapshots differ, and what there is.

import { type Job, notInstalled } from '../job.js';
import { digestOf } from '../measure/check.js';
import { settle } from '../measure/files.js';
import { startLimit } from '../measure/limits.js';
import { cmpAll, emptyNode } from '../measure/peers.js';
import { execute, hear } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { type Laps, type Result, resultOf } from '../result.js';
import { checkSnapshot, copyStore, FIRST_TAG, makeStore, ours, STORE } from './stores.js';

const COPY = 'copy.img';
const SECOND_TAG = 'second';

/** Where two snapshots differ: beside cmp of the two images. */
export const diff = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.big);
  const store = await makeStore(job, subject.path);
  const copy = scratch.path(COPY);
  copyStore(subject.path, copy);
  subject.advance(1);
  await execute(scratch, ours(job, 'take', subject.path, store, '--tag', SECOND_TAG));
  const compare = ours(job, 'diff', store, FIRST_TAG, SECOND_TAG);
  const own: Contender = {
    name: 'nvsnap',
    prepare: () => settle(job, store),
    commands: () => [compare],
  };
  const cmp: Contender = {
    name: 'cmp',
    prepare: () => {
      settle(job, subject.path, copy);
    },
    commands: () => [cmpAll(subject.path, copy)],
  };
  const { laps, limits } = await race(scratch, job.has('cmp') ? [own, cmp] : [own], {
    rounds: options.rounds,
    work: undefined,
    limits: [startLimit(job)],
  });
  // The snapshots are the two images, and what is said to differ is all that does.
  await execute(scratch, ours(job, 'compare', store, SECOND_TAG, subject.path));
  await execute(scratch, ours(job, 'compare', store, FIRST_TAG, copy));
  const told = JSON.parse(await hear(scratch, compare)) as { ranges: unknown };
  for (const name of [COPY, STORE]) scratch.drop(name);
  return resultOf(
    { level: 'commands', case: 'diff' },
    {
      title: `diff of two snapshots, ${options.changed} % changed, beside cmp -l of the images`,
      laps,
      limits,
      missing: job.has('cmp') ? [] : [notInstalled('cmp')],
      verified: ['nvsnap'],
      digest: digestOf(JSON.stringify(told.ranges)),
    },
    [{ beside: 'cmp', ratio: 20 }],
  );
};

/** What may be added to half as much again as an empty node takes to start. */
const ALLOWED_FACTOR = 1.5;
const ALLOWED_MS = 80;

/** How long the program takes to start: beside a node that does nothing. */
export const start = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.size);
  const store = await makeStore(job, subject.path);
  const list = ours(job, 'list', store);
  const own: Contender = { name: 'nvsnap', commands: () => [list] };
  const node: Contender = { name: 'node', commands: () => [emptyNode] };
  const { laps } = await race(scratch, [own, node], { rounds: options.rounds, work: undefined });
  const times = laps[1]?.milliseconds ?? [];
  const allowed: Laps = {
    name: `${ALLOWED_FACTOR} × node + ${ALLOWED_MS} ms`,
    milliseconds: times.map((time) => ALLOWED_FACTOR * time + ALLOWED_MS),
    work: undefined,
    made: undefined,
  };
  const told = JSON.parse(await hear(scratch, list)) as { tag: string }[];
  if (told.length !== 1 || told[0]?.tag !== FIRST_TAG) throw new Error('the list is not the store');
  await checkSnapshot(job, subject.path, store, FIRST_TAG);
  scratch.drop(STORE);
  return resultOf(
    { level: 'commands', case: 'start' },
    {
      title: 'list of a store with one snapshot, beside node -e 0',
      laps: [...laps, allowed],
      verified: ['nvsnap'],
      digest: digestOf(told.map(({ tag }) => tag).join()),
    },
    [{ beside: allowed.name, ratio: 1 }],
  );
};
