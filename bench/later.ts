// What a store is asked for in later years: to be verified, a copy brought up to date, two snapshots compared.

import { KiB } from '../disk/index.js';
import { FIRST_TAG, makeStore, RESTORED } from './first.js';
import { changeImage } from './image.js';
import { type Job, type Result, resultOf } from './job.js';
import { type Contender, execute, race, warm } from './measure.js';
import { cmpAll, nvsnap, qemuRestore } from './peers.js';
import { checkFile } from './verify.js';

const CLUSTER = 64 * KiB;
const CHANGED_SHARE = 0.01;
/** Keeps the seeds of changes apart from that of the image. */
const CHANGE_SEED = 2_000_000;
const COPY = 'copy.img';
const SECOND_TAG = 'second';
/** We ourselves, doing all of it again. */
const WHOLE = 'whole';

/** Changes 1 % of the clusters of a file of `size` bytes. */
const change = (path: string, size: number, seed: number): void => {
  const count = Math.max(1, Math.round((size / CLUSTER) * CHANGED_SHARE));
  changeImage(path, { clusterSize: CLUSTER, count, seed: CHANGE_SEED + seed });
};

/** Verification of a store of one snapshot: beside restoring it, which is how one would find out without it. */
export const verify = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const image = await job.image(options.size);
  const store = await makeStore(job, image);
  warm(store);
  const output = scratch.path(RESTORED);
  const ours: Contender = {
    name: 'nvsnap',
    commands: () => [nvsnap('verify', store)],
  };
  const qemu: Contender = {
    name: 'qemu-img',
    prepare: () => scratch.drop(RESTORED),
    commands: () => [qemuRestore(store, FIRST_TAG, output)],
  };
  const laps = await race(scratch, job.has('qemu-img') ? [ours, qemu] : [ours], options.runs);
  if (job.has('qemu-img')) await checkFile('qemu-img convert', image, output);
  scratch.drop(RESTORED);
  return resultOf(
    {
      case: 'verify',
      title: 'verify, beside qemu-img convert -l',
      imageBytes: options.size,
      verified: laps.slice(1).map(({ name }) => name),
    },
    laps,
    [{ peer: 'qemu-img', ratio: 1.2 }],
  );
};

/** A restore in place of a copy of which 1 % differs: beside restoring everything to a new file. */
export const update = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const image = await job.image(options.big);
  const store = await makeStore(job, image);
  warm(store);
  const copy = scratch.path(COPY);
  const output = scratch.path(RESTORED);
  const restore = (to: string, ...more: readonly string[]) =>
    nvsnap('restore', store, FIRST_TAG, to, ...more);
  await execute(scratch, restore(copy, '--force'));
  const ours: Contender = {
    name: 'nvsnap',
    commands: () => [restore(copy, '--in-place')],
    outputs: () => [copy],
  };
  const whole: Contender = {
    name: WHOLE,
    prepare: () => scratch.drop(RESTORED),
    commands: () => [restore(output)],
    outputs: () => [output],
  };
  const laps = await race(scratch, [ours, whole], options.runs, (round) => {
    change(copy, options.big, round);
    warm(copy);
  });
  await checkFile('nvsnap restore --in-place', image, copy);
  await checkFile('nvsnap restore', image, output);
  for (const name of [COPY, RESTORED]) scratch.drop(name);
  return resultOf(
    {
      case: 'update',
      title: 'restore in place, 1 % differs, beside a restore to a new file',
      imageBytes: options.big,
      verified: laps.map(({ name }) => name),
    },
    laps,
    [{ peer: WHOLE, ratio: 5 }],
  );
};

/** Where two snapshots differ: beside cmp of the two images. */
export const diff = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const image = await job.image(options.big);
  const store = await makeStore(job, image);
  const copy = scratch.path(COPY);
  await execute(scratch, nvsnap('restore', store, FIRST_TAG, copy, '--force'));
  change(image, options.big, 0);
  await execute(scratch, nvsnap('take', image, store, '--tag', SECOND_TAG));
  warm(image);
  warm(copy);
  const ours: Contender = {
    name: 'nvsnap',
    commands: () => [nvsnap('diff', store, FIRST_TAG, SECOND_TAG)],
  };
  const cmp: Contender = { name: 'cmp', commands: () => [cmpAll(image, copy)] };
  const laps = await race(scratch, job.has('cmp') ? [ours, cmp] : [ours], options.runs);
  await execute(scratch, nvsnap('compare', store, SECOND_TAG, image));
  await execute(scratch, nvsnap('compare', store, FIRST_TAG, copy));
  scratch.drop(COPY);
  return resultOf(
    {
      case: 'diff',
      title: 'diff of two snapshots, 1 % differs, beside cmp -l of the images',
      imageBytes: options.big,
      verified: ['nvsnap'],
    },
    laps,
    [{ peer: 'cmp', ratio: 20 }],
  );
};
