// What a take costs in an image of 1 TiB: with a dirty source, beside the same change of the same data in an image of
// 16 GiB (scale); by full scan, beside reading the same data and tables and doing nothing with them (sparse).

import { fileURLToPath } from 'node:url';
import { GiB, KiB, MiB, TiB } from '../disk/index.js';
import { FIRST_TAG } from './first.js';
import { type Job, type Result, resultOf } from './job.js';
import { type Contender, execute, race } from './measure.js';
import { nvsnap, qemuCompare } from './peers.js';
import { SparseImage } from './sparse.js';

const CLUSTER = 64 * KiB;
const CHANGED_BYTES = 64 * MiB;
/** Where there is less data, so much of it changes. */
const MOST_CHANGED = 1 / 16;
/** Keeps the seeds of changes apart from that of the image. */
const CHANGE_SEED = 5_000_000;
const READER = fileURLToPath(new URL('./read-data.js', import.meta.url));

const tagOf = (round: number): string => `round-${round}`;

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
    const dense = await job.image(options.big);
    const path = scratch.path(`${name}.img`);
    const subject = new Subject(job, name, new SparseImage(path, size, dense, options.big));
    const first = subject.take(FIRST_TAG, '--compression', 'none', '--cluster-size', '64K');
    await execute(scratch, first);
    return subject;
  }

  get store(): string {
    return this.#job.scratch.path(`${this.name}.qcow2`);
  }

  /** With the tracker's bitmap as the dirty source. */
  take(tag: string, ...more: readonly string[]) {
    const { path, bitmap } = this.image;
    return nvsnap('take', path, this.store, '--tag', tag, '--dirty', `bitmap:${bitmap}`, ...more);
  }

  change(round: number): void {
    this.image.change(this.#changed, CHANGE_SEED + round);
  }

  get contender(): Contender {
    return { name: this.name, commands: (round) => [this.take(tagOf(round))] };
  }

  /** The latest snapshot is the store's current state. */
  async check(): Promise<void> {
    if (!this.#job.has('qemu-img')) return;
    await execute(this.#job.scratch, qemuCompare(this.image.path, this.store));
  }

  drop(): void {
    for (const end of ['img', 'img.dirty', 'img.dirty.since', 'qcow2']) {
      this.#job.scratch.drop(`${this.name}.${end}`);
    }
  }
}

export const scale = async (job: Job): Promise<Result> => {
  const large = await Subject.make(job, 'nvsnap', TiB);
  const small = await Subject.make(job, 'small', 16 * GiB);
  const both = [large, small];
  const laps = await race(
    job.scratch,
    both.map(({ contender }) => contender),
    job.options.runs,
    (round) => {
      for (const subject of both) subject.change(round);
    },
  );
  for (const subject of both) {
    await subject.check();
    subject.drop();
  }
  return resultOf(
    {
      case: 'scale',
      title: 'take of 1 TiB by bitmap, 64 MiB changed, beside 16 GiB with the same data and change',
      imageBytes: TiB,
      verified: laps.map(({ name }) => name),
    },
    laps,
    [{ peer: 'small', ratio: 0.67 }],
  );
};

export const sparse = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await Subject.make(job, 'nvsnap', TiB);
  const { path } = subject.image;
  const ours: Contender = {
    name: 'nvsnap',
    commands: (round) => [nvsnap('take', path, subject.store, '--tag', tagOf(round))],
  };
  const read: Contender = {
    name: 'read',
    commands: () => [{ program: process.execPath, args: [READER, path, subject.store] }],
  };
  const laps = await race(scratch, [ours, read], options.runs, (round) => subject.change(round));
  await subject.check();
  subject.drop();
  return resultOf(
    {
      case: 'sparse',
      title: 'full scan of 1 TiB with holes, 64 MiB changed, beside one process that only reads',
      imageBytes: TiB,
      verified: ['nvsnap'],
    },
    laps,
    [{ peer: 'read', ratio: 0.77 }],
  );
};
