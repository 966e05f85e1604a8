// Repeats the jobs of a file on its schedule. Each round is a bulk run of its own, begun only when the last one has
// ended; between two rounds nothing is held but the lock on the jobs file, so a kill at any time costs nothing.

import fs from 'node:fs';
import { fault, lockAlone } from '../disk/index.js';
import { waitForTick } from './clock.js';
import { readJobs } from './jobs-file.js';
import { type BulkResult, type Failure, failureOf } from './outcome.js';
import type { Plan, Schedule } from './plan.js';
import { type BulkOptions, runBulk } from './run.js';

export interface WatchOptions extends Omit<BulkOptions, 'keep'> {
  /** Path of the jobs file. */
  readonly jobs: string;
  /** One round, for those that have a schedule of their own. */
  readonly once?: boolean | undefined;
  /** Hears of every round: how it went, or why it did not take place. */
  readonly onRound?: (round: Round) => void;
}

export type Round = { readonly round: number; readonly jobs: string } & (
  | { readonly result: BulkResult }
  | { readonly refused: Failure }
);

/** The lock that keeps a second watch away. It is on the open file, so that it ends with us. */
class JobsLock {
  readonly #path: string;
  #fd: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Takes the lock, also of a file that was put in the old one's place since. */
  take(): void {
    const named = fs.statSync(this.#path, { bigint: true });
    if (this.#fd !== undefined && fs.fstatSync(this.#fd, { bigint: true }).ino === named.ino)
      return;
    const fd = fs.openSync(this.#path, 'r');
    try {
      const holder = lockAlone(fd, this.#path);
      if (holder !== undefined) throw fault('jobs-watched', { path: this.#path, holder });
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    this.release();
    this.#fd = fd;
  }

  release(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** The plan of a file that can be watched. */
const readWatched = (path: string): Plan & { readonly watch: Schedule } => {
  const plan = readJobs(path);
  const { watch } = plan;
  if (!watch) {
    throw fault('usage', {
      problem: `${path} does not say when to take the images.`,
      advice: 'Add a map "watch" with "every: 15m" or so.',
    });
  }
  const tagged = [...plan.jobs, ...plan.machines].find(({ tag }) => tag !== undefined);
  if (tagged) {
    throw fault('usage', {
      problem: `The job ${JSON.stringify(tagged.name)} has a tag, which can be taken only once.`,
      advice: 'Leave it out: each snapshot is then named by its time.',
    });
  }
  return { ...plan, watch };
};

/**
 * Takes the images now and then again and again, until the signal ends it; resolves to the last round. Rejects when
 * the first round cannot take place; a later one that cannot, because the file is broken, is left out.
 */
export const watchJobs = async (options: WatchOptions): Promise<Round | undefined> => {
  const { jobs: path, once, onRound, signal, ...rest } = options;
  const lock = new JobsLock(path);
  let everyMs: number | undefined;
  let last: Round | undefined;
  try {
    for (let round = 1; signal?.aborted !== true; round += 1) {
      try {
        const plan = readWatched(path);
        lock.take();
        everyMs = plan.watch.everyMs;
        const result = await runBulk(plan, { ...rest, signal, keep: plan.watch.keep });
        last = { round, jobs: path, result };
      } catch (error) {
        if (everyMs === undefined) throw error;
        last = { round, jobs: path, refused: failureOf(error) };
      }
      onRound?.(last);
      if (once) break;
      await waitForTick(everyMs, signal);
    }
    return last;
  } finally {
    lock.release();
  }
};
