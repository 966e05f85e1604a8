// The first take, complete: compressed (first) or not (none), beside qemu-img's convert.

import type { Job, Result } from './job.js';
import { resultOf } from './job.js';
import { type Contender, execute, race, warm } from './measure.js';
import { nvsnap, qemuCompare, qemuToQcow2 } from './peers.js';
import { checkFile } from './verify.js';

/** The tag of the first snapshot, and the store's name in the scratch folder. */
export const FIRST_TAG = 'first';
export const STORE = 'store.qcow2';
const PEER_FILE = 'peer.qcow2';
export const RESTORED = 'restored.img';

export const takeFirst = (image: string, store: string, compression: string) =>
  nvsnap(
    'take',
    image,
    store,
    ...['--tag', FIRST_TAG],
    ...['--compression', compression],
    ...['--cluster-size', '64K'],
  );

/** Makes a store with the image's present state in it. */
export const makeStore = async (job: Job, image: string): Promise<string> => {
  const store = job.scratch.path(STORE);
  job.scratch.drop(STORE);
  await execute(job.scratch, takeFirst(image, store, 'zstd'));
  return store;
};

/** Restores a snapshot and holds it against the image. */
export const checkSnapshot = async (
  { scratch }: Job,
  image: string,
  store: string,
  tag: string,
): Promise<void> => {
  const output = scratch.path(RESTORED);
  await execute(scratch, nvsnap('restore', store, tag, output, '--force'));
  await checkFile('nvsnap take', image, output);
  scratch.drop(RESTORED);
};

const measureFirst = async (
  job: Job,
  bytes: number,
  codec: 'zstd' | 'none',
): Promise<Pick<Result, 'laps' | 'verified'>> => {
  const { scratch } = job;
  const image = await job.image(bytes);
  warm(image);
  const store = scratch.path(STORE);
  const other = scratch.path(PEER_FILE);
  // Each removes the other's file first: two files of a big image may not fit at once.
  const ours: Contender = {
    name: 'nvsnap',
    prepare: () => scratch.drop(STORE),
    commands: () => [takeFirst(image, store, codec)],
    outputs: () => [store],
  };
  const qemu: Contender = {
    name: 'qemu-img',
    prepare: () => scratch.drop(PEER_FILE),
    commands: () => [qemuToQcow2(image, other, codec !== 'none')],
    outputs: () => [other],
  };
  const laps = await race(scratch, job.has('qemu-img') ? [ours, qemu] : [ours], job.options.runs);
  const verified = ['nvsnap'];
  if (job.has('qemu-img')) {
    await execute(scratch, qemuCompare(image, other));
    verified.push('qemu-img');
  }
  scratch.drop(PEER_FILE);
  await checkSnapshot(job, image, store, FIRST_TAG);
  return { laps, verified };
};

export const first = async (job: Job): Promise<Result> => {
  const { size } = job.options;
  const { laps, verified } = await measureFirst(job, size, 'zstd');
  const title = 'first take, zstd, beside qemu-img convert -c';
  return resultOf({ case: 'first', title, imageBytes: size, verified }, laps, [
    { peer: 'qemu-img', ratio: 2 },
  ]);
};

export const none = async (job: Job): Promise<Result> => {
  const { big } = job.options;
  const { laps, verified } = await measureFirst(job, big, 'none');
  job.scratch.drop(STORE);
  const title = 'first take, no compression, beside qemu-img convert';
  return resultOf({ case: 'none', title, imageBytes: big, verified }, laps, [
    { peer: 'qemu-img', ratio: 1 },
  ]);
};
