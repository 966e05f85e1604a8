// What the cases share: their stores, and how a snapshot is proven to be the image.

import fs from 'node:fs';
import type { Job } from '../job.js';
import { checkFile } from '../measure/check.js';
import { nvsnap } from '../measure/peers.js';
import { type Command, execute } from '../measure/process.js';
import type { Contender } from '../measure/race.js';
import { insightOf } from '../report/words.js';
import type { Insight } from '../result.js';

/** The tag of the first snapshot, and the names of files in the scratch folder. */
export const FIRST_TAG = 'first';
export const STORE = 'store.qcow2';
export const RESTORED = 'restored.img';

export const tagOf = (round: number): string => `round-${round}`;

/** Ours, as the shell of a user would start it. */
export const ours = ({ options }: Job, ...args: readonly string[]): Command =>
  nvsnap(options.program, ...args);

export const takeFirst = (
  job: Job,
  image: string,
  store: string,
  compression: string,
  ...more: readonly string[]
): Command =>
  ours(
    job,
    ...['take', image, store, '--tag', FIRST_TAG, '--compression', compression],
    ...(more.includes('--cluster-size') ? [] : ['--cluster-size', '64K']),
    ...more,
  );

/** Makes a store with the image's present state in it. */
export const makeStore = async (job: Job, image: string, name = STORE): Promise<string> => {
  const store = job.scratch.path(name);
  job.scratch.drop(name);
  await execute(job.scratch, takeFirst(job, image, store, 'zstd'));
  return store;
};

/** A copy of a store, which shares its blocks where the file system can. */
export const copyStore = (from: string, to: string): void => {
  fs.rmSync(to, { force: true });
  fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE);
};

/** Restores a snapshot and holds it against the image; resolves to their digest. */
export const checkSnapshot = async (
  job: Job,
  image: string,
  store: string,
  tag: string,
): Promise<string> => {
  const output = job.scratch.path(RESTORED);
  await execute(job.scratch, ours(job, 'restore', store, tag, output, '--force'));
  const digest = await checkFile('nvsnap take', image, output);
  job.scratch.drop(RESTORED);
  return digest;
};

/** A contender that is ours, and what its last round said of its stages. */
export interface Heard {
  readonly contender: Contender;
  readonly insight: () => Insight | undefined;
}

/** Listens to what a contender of ours prints. */
export const listening = (contender: Contender): Heard => {
  let last: Insight | undefined;
  return {
    contender: {
      ...contender,
      heard: (text) => {
        last = insightOf(text);
      },
    },
    insight: () => last,
  };
};
