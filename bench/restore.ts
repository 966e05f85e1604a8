// Restoring a snapshot, beside qemu-img on the same store.

import { FIRST_TAG, makeStore, RESTORED } from './first.js';
import { type Job, type Result, resultOf } from './job.js';
import { type Contender, race, warm } from './measure.js';
import { nvsnap, qemuRestore } from './peers.js';
import { checkFile } from './verify.js';

const PEER_OUTPUT = 'peer.img';

export const restore = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const image = await job.image(options.size);
  const store = await makeStore(job, image);
  warm(store);
  const output = scratch.path(RESTORED);
  const other = scratch.path(PEER_OUTPUT);
  const ours: Contender = {
    name: 'nvsnap',
    prepare: () => scratch.drop(RESTORED),
    commands: () => [nvsnap('restore', store, FIRST_TAG, output)],
    outputs: () => [output],
  };
  const qemu: Contender = {
    name: 'qemu-img',
    prepare: () => scratch.drop(PEER_OUTPUT),
    commands: () => [qemuRestore(store, FIRST_TAG, other)],
    outputs: () => [other],
  };
  const laps = await race(scratch, job.has('qemu-img') ? [ours, qemu] : [ours], options.runs);
  await checkFile('nvsnap restore', image, output);
  if (job.has('qemu-img')) await checkFile('qemu-img convert', image, other);
  scratch.drop(RESTORED);
  scratch.drop(PEER_OUTPUT);
  return resultOf(
    {
      case: 'restore',
      title: 'restore, beside qemu-img convert -l',
      imageBytes: options.size,
      verified: laps.map(({ name }) => name),
    },
    laps,
    [{ peer: 'qemu-img', ratio: 1 }],
  );
};
