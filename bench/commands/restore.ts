// Out of a store: restoring a snapshot, verifying it, and bringing a copy up to date.

import { type Job, notInstalled } from '../job.js';
import { archivers } from '../measure/archivers.js';
import { checkFile } from '../measure/check.js';
import { allocatedOf, settle, warm } from '../measure/files.js';
import {
  codecLimit,
  copyLimit,
  distinctClusters,
  readLimit,
  writeLimit,
} from '../measure/limits.js';
import { qemuRestore } from '../measure/peers.js';
import { execute } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { CLUSTER } from '../options.js';
import { type Result, resultOf } from '../result.js';
import { changeImage } from '../workload/change.js';
import { checkSnapshot, FIRST_TAG, listening, makeStore, ours, RESTORED, STORE } from './stores.js';

const PEER_OUTPUT = 'peer.img';
const COPY = 'copy.img';
/** We ourselves, doing all of it again. */
const WHOLE = 'whole';
/** Keeps the seeds of changes of copies apart from those of the image. */
const CHANGE_SEED = 2_000_000;
const ARCHIVERS = ['borg', 'restic', 'zstd'];

/** A contender that makes a file anew in each round. */
const making = (
  job: Job,
  name: string,
  file: string,
  from: string,
  commands: Contender['commands'],
  prove: () => Promise<unknown>,
): Contender => ({
  name,
  prepare: () => {
    job.scratch.drop(file);
    settle(job, from);
  },
  commands,
  outputs: () => [job.scratch.path(file)],
  prove,
});

export const restore = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.size);
  const image = subject.path;
  const store = await makeStore(job, image);
  let digest = '';
  const [output, other] = [scratch.path(RESTORED), scratch.path(PEER_OUTPUT)];
  const own = listening(
    making(
      job,
      'nvsnap',
      RESTORED,
      store,
      () => [ours(job, 'restore', store, FIRST_TAG, output)],
      async () => {
        digest = await checkFile('nvsnap restore', image, output);
      },
    ),
  );
  const proving = (name: string) => () => checkFile(name, image, other);
  const peers: Contender[] = [];
  if (job.has('qemu-img')) {
    const command = qemuRestore(store, FIRST_TAG, other);
    peers.push(making(job, 'qemu-img', PEER_OUTPUT, store, () => [command], proving('qemu-img')));
  }
  const keepers = archivers(job, ARCHIVERS);
  for (const keeper of keepers) {
    await keeper.begin();
    await execute(scratch, keeper.put(image, FIRST_TAG));
    const command = keeper.get(image, FIRST_TAG, other);
    const { name, folder } = keeper;
    peers.push(making(job, name, PEER_OUTPUT, folder, () => [command], proving(name)));
  }
  const { laps, limits } = await race(scratch, [own.contender, ...peers], {
    rounds: options.rounds,
    work: subject.size,
    limits: [
      codecLimit('decode', 'zstd', image, distinctClusters(image)),
      readLimit(job, () => store),
      copyLimit(subject.size),
      writeLimit(job, () => allocatedOf(output), subject.size),
    ],
  });
  for (const name of [RESTORED, PEER_OUTPUT, STORE, ...ARCHIVERS]) scratch.drop(name);
  return resultOf(
    { level: 'commands', case: 'restore' },
    {
      title: 'restore, every byte verified',
      laps,
      limits,
      missing: ['qemu-img', ...ARCHIVERS].filter((name) => !job.has(name)).map(notInstalled),
      verified: laps.map(({ name }) => name),
      digest,
      insight: own.insight(),
    },
    [{ beside: 'qemu-img', ratio: 1.5 }],
  );
};

/** Verification of a store of one snapshot: beside restoring it, which is how one would find out without it. */
export const verify = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.size);
  const image = subject.path;
  const store = await makeStore(job, image);
  const output = scratch.path(RESTORED);
  const own = listening({
    name: 'nvsnap',
    prepare: () => settle(job, store),
    commands: () => [ours(job, 'verify', store)],
  });
  const qemu = making(
    job,
    'qemu-img',
    RESTORED,
    store,
    () => [qemuRestore(store, FIRST_TAG, output)],
    () => checkFile('qemu-img', image, output),
  );
  const contenders = job.has('qemu-img') ? [own.contender, qemu] : [own.contender];
  const { laps, limits } = await race(scratch, contenders, {
    rounds: options.rounds,
    work: subject.size,
    limits: [
      codecLimit('decode', 'zstd', image, distinctClusters(image)),
      readLimit(job, () => store),
    ],
  });
  // What was verified is the image.
  const digest = await checkSnapshot(job, image, store, FIRST_TAG);
  for (const name of [RESTORED, STORE]) scratch.drop(name);
  return resultOf(
    { level: 'commands', case: 'verify' },
    {
      title: 'verify, beside qemu-img convert -l',
      laps,
      limits,
      missing: job.has('qemu-img') ? [] : [notInstalled('qemu-img')],
      verified: laps.map(({ name }) => name),
      digest,
      insight: own.insight(),
    },
    [{ beside: 'qemu-img', ratio: 1.2 }],
  );
};

/** A restore in place of a copy of which a little differs: beside restoring everything to a new file. */
export const update = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.big);
  const image = subject.path;
  const store = await makeStore(job, image);
  warm(store);
  let digest = '';
  const [copy, output] = [scratch.path(COPY), scratch.path(RESTORED)];
  const restoreTo = (to: string, ...more: readonly string[]) =>
    ours(job, 'restore', store, FIRST_TAG, to, ...more);
  await execute(scratch, restoreTo(copy, '--force'));
  const own = listening({
    name: 'nvsnap',
    prepare: () => settle(job, copy),
    commands: () => [restoreTo(copy, '--in-place')],
    outputs: () => [copy],
    prove: async () => {
      digest = await checkFile('nvsnap restore --in-place', image, copy);
    },
  });
  const whole = making(
    job,
    WHOLE,
    RESTORED,
    store,
    () => [restoreTo(output)],
    () => checkFile('nvsnap restore', image, output),
  );
  const { laps, limits } = await race(scratch, [own.contender, whole], {
    rounds: options.rounds,
    work: subject.size,
    limits: [readLimit(job, () => copy), copyLimit(subject.size)],
    beforeRound: (round) => {
      changeImage(copy, {
        pattern: options.pattern,
        clusterSize: CLUSTER,
        count: subject.clustersOf(options.changed),
        seed: (options.seed + CHANGE_SEED + round) % 2 ** 32,
      });
    },
  });
  for (const name of [COPY, RESTORED, STORE]) scratch.drop(name);
  return resultOf(
    { level: 'commands', case: 'update' },
    {
      title: `restore in place, ${options.changed} % differs, beside a restore to a new file`,
      laps,
      limits,
      verified: laps.map(({ name }) => name),
      digest,
      insight: own.insight(),
    },
    [{ beside: WHOLE, ratio: 5 }],
  );
};
