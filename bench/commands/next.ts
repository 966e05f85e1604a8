// A later take by full scan: beside programs that keep what is new too, and beside two dd that only read.

import { type Job, notInstalled } from '../job.js';
import { archivers } from '../measure/archivers.js';
import { checkFile } from '../measure/check.js';
import { settle } from '../measure/files.js';
import { copyLimit, readLimit } from '../measure/limits.js';
import { ddHalves } from '../measure/peers.js';
import { execute } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { type Result, resultOf } from '../result.js';
import type { Subject } from '../subject.js';
import {
  checkSnapshot,
  FIRST_TAG,
  listening,
  makeStore,
  ours,
  RESTORED,
  STORE,
  tagOf,
} from './stores.js';

/** Each reads one half. */
const DD = 'two dd';
const ARCHIVERS = ['borg', 'restic'];

/** Peers that hold the first state already. */
const follow = async (job: Job, subject: Subject): Promise<Contender[]> => {
  const { scratch, options } = job;
  const followers: Contender[] = [];
  for (const archiver of archivers(job, ARCHIVERS)) {
    const { name } = archiver;
    await archiver.begin();
    await execute(scratch, archiver.put(subject.path, FIRST_TAG));
    followers.push({
      name,
      prepare: () => settle(job, archiver.folder, subject.path),
      commands: (round) => [archiver.put(subject.path, tagOf(round))],
      prove: async () => {
        const out = scratch.path(RESTORED);
        await execute(scratch, archiver.get(subject.path, tagOf(options.rounds), out));
        await checkFile(name, subject.path, out);
        scratch.drop(RESTORED);
        archiver.drop();
      },
    });
  }
  return followers;
};

export const next = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.big);
  const store = await makeStore(job, subject.path);
  const followers = await follow(job, subject);
  let digest = '';
  const own = listening({
    name: 'nvsnap',
    prepare: () => settle(job, store, subject.path),
    commands: (round) => [ours(job, 'take', subject.path, store, '--tag', tagOf(round))],
    prove: async () => {
      digest = await checkSnapshot(job, subject.path, store, tagOf(options.rounds));
    },
  });
  const dd: Contender = {
    name: DD,
    prepare: () => settle(job, subject.path),
    commands: () => ddHalves(subject.path, subject.size),
  };
  const contenders = [own.contender, ...(job.has('dd') ? [dd] : []), ...followers];
  const { laps, limits } = await race(scratch, contenders, {
    rounds: options.rounds,
    work: subject.size,
    limits: [readLimit(job, () => subject.path), copyLimit(subject.size)],
    beforeRound: (round) => {
      subject.advance(round);
    },
  });
  scratch.drop(STORE);
  return resultOf(
    { level: 'commands', case: 'next' },
    {
      title: `next take by full scan, ${options.changed} % changed (${options.pattern})`,
      laps,
      limits,
      missing: ['dd', ...ARCHIVERS].filter((name) => !job.has(name)).map(notInstalled),
      // It makes nothing that could be wrong.
      verified: laps.map(({ name }) => name).filter((name) => name !== DD),
      digest,
      insight: own.insight(),
    },
    [
      { beside: DD, ratio: 0.7 },
      { beside: 'borg', ratio: 5 },
      { beside: 'restic', ratio: 10 },
    ],
  );
};
