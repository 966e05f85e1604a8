// What a take costs in an image of 1 TiB: with a dirty source, beside the same change of the same data in an image of
// 16 GiB (huge); by full scan, beside reading the same data and tables and doing nothing with them (sparse).

import { fileURLToPath } from 'node:url';
import { GiB, MiB, TiB } from '../../disk/index.js';
import { FIRST_TAG, listening, ours, RESTORED, tagOf } from '../commands/stores.js';
import type { Job } from '../job.js';
import { checkSparse, digestOf } from '../measure/check.js';
import { settle } from '../measure/files.js';
import { qemuCompare } from '../measure/peers.js';
import { execute } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { CLUSTER } from '../options.js';
import { type Result, resultOf } from '../result.js';
import { SparseImage } from '../workload/sparse.js';

const CHANGED_BYTES = 64 * MiB;
/** Where there is less data, so much of it changes. */
const MOST_CHANGED = 1 / 16;
/** Keeps the seeds of changes apart from that of the image. */
const CHANGE_SEED = 5_000_000;
const READER = fileURLToPath(new URL('./read-data.js', import.meta.url));

/** A sparse image, and its store with a first snapshot. */
class Subject {
  readonly name: string;
  readonly image: SparseImage;
  readonly #job: Job;
  readonly #changed: number;

  private constructor(job: Job, name: string, image: SparseImage) {
    this.#job = job;
    this.name = name;
    this.image = image;
    const { big } = job.options;
    this.#changed = Math.max(1, Math.floor(Math.min(CHANGED_BYTES, big * MOST_CHANGED) / CLUSTER));
  }

  static async make(job: Job, name: string, size: number): Promise<Subject> {
    const { scratch, options } = job;
    const dense = (await job.subject(options.big)).path;
    const path = scratch.path(`${name}.img`);
    const subject = new Subject(job, name, new SparseImage(path, size, dense, options.big));
    // Compressed, so that an image and its store have room in the page cache.
    const first = subject.take(FIRST_TAG, '--cluster-size', '64K');
    await execute(scratch, first);
    return subject;
  }

  get store(): string {
    return this.#job.scratch.path(`${this.name}.qcow2`);
  }

  /** With the tracker's bitmap as the dirty source. */
  take(tag: string, ...more: readonly string[]) {
    const { path, bitmap } = this.image;
    return ours(
      this.#job,
      ...['take', path, this.store, '--tag', tag, '--dirty', `bitmap:${bitmap}`],
      ...more,
    );
  }

  change(round: number): void {
    this.image.change(this.#changed, CHANGE_SEED + round);
  }

  /** Brings the image and its store into the page cache, or out of it: two of each are more than many machines' memory. */
  settle(): void {
    settle(this.#job, this.image.path, this.store);
  }

  get contender(): Contender {
    return {
      name: this.name,
      prepare: () => this.settle(),
      commands: (round) => [this.take(tagOf(round))],
    };
  }

  /** Holds what is restored of the latest snapshot against the image; resolves to the digest of its data. */
  async check(): Promise<string> {
    const { scratch } = this.#job;
    if (this.#job.has('qemu-img')) await execute(scratch, qemuCompare(this.image.path, this.store));
    const output = scratch.path(RESTORED);
    await execute(scratch, ours(this.#job, 'restore', this.store, 'latest', output));
    const digest = await checkSparse('nvsnap take', this.image.path, output);
    scratch.drop(RESTORED);
    return digest;
  }

  drop(): void {
    for (const end of ['img', 'img.dirty', 'img.dirty.since', 'qcow2']) {
      this.#job.scratch.drop(`${this.name}.${end}`);
    }
  }
}

export const huge = async (job: Job): Promise<Result> => {
  const large = await Subject.make(job, 'nvsnap', TiB);
  const small = await Subject.make(job, 'small', 16 * GiB);
  const both = [large, small];
  const { laps } = await race(
    job.scratch,
    both.map(({ contender }) => contender),
    {
      rounds: job.options.rounds,
      work: undefined,
      beforeRound: (round) => {
        for (const subject of both) subject.change(round);
      },
    },
  );
  const digests: string[] = [];
  for (const subject of both) {
    digests.push(await subject.check());
    subject.drop();
  }
  return resultOf(
    { level: 'scale', case: 'huge' },
    {
      title: 'take of 1 TiB by bitmap, 64 MiB changed, beside 16 GiB with the same data and change',
      laps,
      verified: laps.map(({ name }) => name),
      digest: digestOf(...digests),
    },
    [{ beside: 'small', ratio: 0.67 }],
  );
};

export const sparse = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await Subject.make(job, 'nvsnap', TiB);
  const { path } = subject.image;
  const own = listening({
    name: 'nvsnap',
    prepare: () => subject.settle(),
    commands: (round) => [ours(job, 'take', path, subject.store, '--tag', tagOf(round))],
  });
  const read: Contender = {
    name: 'read',
    prepare: () => subject.settle(),
    commands: () => [{ program: process.execPath, args: [READER, path, subject.store] }],
  };
  const { laps } = await race(scratch, [own.contender, read], {
    rounds: options.rounds,
    work: options.big,
    beforeRound: (round) => subject.change(round),
  });
  const digest = await subject.check();
  subject.drop();
  return resultOf(
    { level: 'scale', case: 'sparse' },
    {
      title: 'full scan of 1 TiB with holes, 64 MiB changed, beside one process that only reads',
      laps,
      verified: ['nvsnap'],
      digest,
      insight: own.insight(),
    },
    [{ beside: 'read', ratio: 0.77 }],
  );
};
