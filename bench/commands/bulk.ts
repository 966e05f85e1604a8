// Many images in one command: of mixed sizes, beside the largest of them by itself, which is the best that one
// image can have; and small ones, beside a process for each.

import fs from 'node:fs';
import { KiB } from '../../disk/index.js';
import type { Job } from '../job.js';
import { checkFile, digestOf } from '../measure/check.js';
import { warm } from '../measure/files.js';
import { type Command, execute, shell } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { type Laps, type Result, resultOf } from '../result.js';
import { makeImage } from '../workload/image.js';
import { ours, RESTORED } from './stores.js';

/** Sizes of sixteen images in 64ths of the whole. */
const MIXED = [16, 8, 8, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2, 1, 1];
const SMALL = MIXED.map(() => 1);
const PARTS = 64;
const PAGE = 4 * KiB;
/** Keeps the seeds of these images apart from that of the image. */
const SEED = 3_000_000;
const TAG = 'first';

const sum = (numbers: readonly number[]): number => numbers.reduce((total, n) => total + n, 0);

/** Sixteen images, their stores, and a jobs file for them. */
class Fleet {
  readonly #job: Job;
  readonly #name: string;
  readonly sizes: readonly number[];

  constructor(job: Job, name: string, shares: readonly number[]) {
    this.#job = job;
    this.#name = name;
    const unit = Math.floor(job.options.size / PARTS / PAGE) * PAGE;
    this.sizes = shares.map((share) => share * unit);
  }

  #path(kind: string, i: number): string {
    return this.#job.scratch.path(`${this.#name}-${i}.${kind}`);
  }

  get bytes(): number {
    return sum(this.sizes);
  }

  image(i: number): string {
    return this.#path('img', i);
  }

  store(i: number): string {
    return this.#path('qcow2', i);
  }

  get stores(): readonly string[] {
    return this.sizes.map((_, i) => this.store(i));
  }

  get jobsFile(): string {
    return this.#job.scratch.path(`${this.#name}.json`);
  }

  async make(): Promise<void> {
    const { options, say } = this.#job;
    say(`making ${this.sizes.length} ${this.#name} images`);
    for (const [i, size] of this.sizes.entries()) {
      const seed = (options.seed + SEED + i) % 2 ** 32;
      await makeImage({ path: this.image(i), size, seed, content: options.content });
      warm(this.image(i));
    }
    const jobs = this.sizes.map((_, i) => ({
      image: this.image(i),
      store: this.store(i),
      tag: TAG,
    }));
    fs.writeFileSync(this.jobsFile, JSON.stringify({ jobs }));
  }

  drop(): void {
    for (const store of this.stores) fs.rmSync(store, { force: true });
  }

  /** Holds every snapshot against its image; resolves to the digest of all. */
  async check(): Promise<string> {
    const { scratch } = this.#job;
    const output = scratch.path(RESTORED);
    const digests: string[] = [];
    for (let i = 0; i < this.sizes.length; i += 1) {
      await execute(scratch, ours(this.#job, 'restore', this.store(i), TAG, output, '--force'));
      digests.push(await checkFile('nvsnap take --jobs', this.image(i), output));
    }
    scratch.drop(RESTORED);
    return digestOf(...digests);
  }

  remove(): void {
    this.drop();
    for (let i = 0; i < this.sizes.length; i += 1) fs.rmSync(this.image(i), { force: true });
  }

  take(i: number): Command {
    return ours(this.#job, 'take', this.image(i), this.store(i), '--tag', TAG);
  }
}

const together = (job: Job, fleet: Fleet): Contender => ({
  name: 'nvsnap',
  prepare: () => fleet.drop(),
  commands: () => [ours(job, 'take', '--jobs', fleet.jobsFile)],
  outputs: () => fleet.stores,
});

/** Commands one after another, as a script of a user would have them. */
const inTurn = (commands: readonly Command[]): Command => {
  const words = commands.flatMap(({ program, args }) => [program, ...args]);
  const each = words.length / commands.length;
  const script = `while (($#)); do "\${@:1:${each}}" || exit; shift ${each}; done`;
  return shell(script, ['bash', ...words]);
};

/** The times it would take for so many times the bytes. */
const scaled = ({ name, milliseconds, work }: Laps, factor: number): Laps => ({
  name,
  milliseconds: milliseconds.map((time) => time * factor),
  work,
  made: undefined,
});

const mixed = async (job: Job): Promise<Result> => {
  const fleet = new Fleet(job, 'mixed', MIXED);
  await fleet.make();
  const single: Contender = {
    name: 'single',
    prepare: () => fs.rmSync(fleet.store(0), { force: true }),
    commands: () => [fleet.take(0)],
    outputs: () => [fleet.store(0)],
  };
  const { laps } = await race(job.scratch, [together(job, fleet), single], {
    rounds: job.options.rounds,
    work: fleet.bytes,
  });
  const [both, alone] = laps;
  if (!both || !alone) throw new Error('both were in the race');
  const digest = await fleet.check();
  fleet.remove();
  const largest = fleet.sizes[0] ?? fleet.bytes;
  return resultOf(
    { level: 'commands', case: 'bulk' },
    {
      title: '16 images of mixed sizes in one command, beside the rate of the largest alone',
      laps: [both, scaled(alone, fleet.bytes / largest)],
      verified: ['nvsnap'],
      digest,
    },
    [{ beside: 'single', ratio: 0.9 }],
  );
};

const small = async (job: Job): Promise<Result> => {
  const fleet = new Fleet(job, 'small', SMALL);
  await fleet.make();
  const processes: Contender = {
    name: 'processes',
    prepare: () => fleet.drop(),
    commands: () => [inTurn(fleet.sizes.map((_, i) => fleet.take(i)))],
    outputs: () => fleet.stores,
  };
  const { laps } = await race(job.scratch, [together(job, fleet), processes], {
    rounds: job.options.rounds,
    work: fleet.bytes,
  });
  const digest = await fleet.check();
  fleet.remove();
  return resultOf(
    { level: 'commands', case: 'bulk' },
    {
      title: '16 small images in one command, beside a process for each, one after another',
      laps,
      verified: ['nvsnap'],
      digest,
    },
    [{ beside: 'processes', ratio: 1.5 }],
  );
};

export const bulk = async (job: Job): Promise<readonly Result[]> => [
  await mixed(job),
  await small(job),
];
