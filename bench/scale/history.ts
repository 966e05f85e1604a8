// What a long history costs: the same commands on a store with a thousand snapshots, and on a copy that was made of it
// when it had ten.

import fs from 'node:fs';
import { MiB } from '../../disk/index.js';
import { Pools, take } from '../../snapshot/index.js';
import { ours, RESTORED } from '../commands/stores.js';
import type { Job } from '../job.js';
import { checkFile, digestOf } from '../measure/check.js';
import { warm } from '../measure/files.js';
import { type Command, execute, hear } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { CLUSTER } from '../options.js';
import { type Result, resultOf } from '../result.js';
import { changeImage } from '../workload/change.js';
import { makeImage } from '../workload/image.js';

const IMAGE_SHARE = 1 / 16;
/** Clusters that change from one snapshot to the next. */
const CHANGED = 8;
const FEW = 10;
const MANY = 1000;
/** In a benchmark that is small itself the history is shorter. */
const SMALL_BENCH = 128 * MiB;
const SHORT = 50;
/** Keeps the seeds of changes apart from that of the image. */
const CHANGE_SEED = 6_000_000;
/** Who was slowed by a fifth is still within the goal. */
const GOAL = 0.83;

/** One image, and its store with many snapshots and with few. */
class History {
  readonly image: string;
  readonly count: number;
  readonly #job: Job;

  constructor(job: Job) {
    this.#job = job;
    this.image = job.scratch.path('history.img');
    this.count = job.options.size < SMALL_BENCH ? SHORT : MANY;
  }

  store(name: string): string {
    return this.#job.scratch.path(`history-${name}.qcow2`);
  }

  change(round: number): void {
    changeImage(this.image, { clusterSize: CLUSTER, count: CHANGED, seed: CHANGE_SEED + round });
  }

  async make(): Promise<void> {
    const { options, say } = this.#job;
    const size = Math.ceil((options.size * IMAGE_SHARE) / CLUSTER) * CLUSTER;
    const { seed, content } = options;
    await makeImage({ path: this.image, size, seed, content });
    say(`taking ${this.count} snapshots`);
    const pools = new Pools();
    const { image } = this;
    const store = this.store('many');
    for (let i = 1; i <= this.count; i += 1) {
      await take({ image, store, tag: `before-${i}`, pools });
      this.change(-i);
      if (i === FEW) fs.copyFileSync(store, this.store('few'));
    }
    await pools.close();
  }

  /** One command on a fresh copy of each store. */
  #contender(name: string, of: string, command: (store: string) => Command): Contender {
    const copy = this.store(`${of}-copy`);
    return {
      name,
      prepare: () => {
        fs.copyFileSync(this.store(of), copy);
        warm(copy);
      },
      commands: () => [command(copy)],
    };
  }

  async measure(
    verb: string,
    command: (store: string) => Command,
    check: (store: string) => Promise<string>,
  ): Promise<Result> {
    const { scratch, options } = this.#job;
    const contenders = [
      this.#contender('nvsnap', 'many', command),
      this.#contender('few', 'few', command),
    ];
    const { laps } = await race(scratch, contenders, {
      rounds: options.rounds,
      work: undefined,
      beforeRound: (round) => this.change(round),
    });
    const digests: string[] = [];
    for (const of of ['many', 'few']) digests.push(await check(this.store(`${of}-copy`)));
    return resultOf(
      { level: 'scale', case: 'history' },
      {
        title: `${verb} with ${this.count} snapshots in the store, beside ${FEW}`,
        laps,
        verified: laps.map(({ name }) => name),
        digest: digestOf(...digests),
      },
      [{ beside: 'few', ratio: GOAL }],
    );
  }

  remove(): void {
    for (const name of ['many', 'few', 'many-copy', 'few-copy']) {
      fs.rmSync(this.store(name), { force: true });
    }
    fs.rmSync(this.image, { force: true });
    this.#job.scratch.drop(RESTORED);
  }
}

export const history = async (job: Job): Promise<readonly Result[]> => {
  const { scratch } = job;
  const subject = new History(job);
  await subject.make();
  const output = scratch.path(RESTORED);
  const restore = (store: string, tag = 'latest') =>
    ours(job, 'restore', store, tag, output, '--force');
  const restored = async (store: string): Promise<string> => {
    await execute(scratch, restore(store));
    return checkFile('nvsnap take', subject.image, output);
  };
  const results = [
    await subject.measure(
      'take',
      (store) => ours(job, 'take', subject.image, store, '--tag', 'after'),
      restored,
    ),
    await subject.measure(
      'list',
      (store) => ours(job, 'list', store),
      async (store) => {
        const told = JSON.parse(await hear(scratch, ours(job, 'list', store))) as { tag: string }[];
        return digestOf(told.map(({ tag }) => tag).join());
      },
    ),
    await subject.measure('restore', restore, async (store) => {
      // The image has changed since: a snapshot of now is the only one that can be held against it.
      await execute(scratch, ours(job, 'take', subject.image, store, '--tag', 'now'));
      return restored(store);
    }),
  ];
  subject.remove();
  return results;
};
