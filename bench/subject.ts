// The image that a case works on: one of ours, which changes in place, or the user's, of which nothing is changed.

import fs from 'node:fs';
import { formatSize } from '../disk/index.js';
import type { Scratch } from './measure/scratch.js';
import { type BenchOptions, CLUSTER } from './options.js';
import { type Change, changeImage, type Pattern } from './workload/change.js';
import { type ImageFacts, makeImage } from './workload/image.js';

/** Keeps the seeds of changes apart from that of the image. */
const CHANGE_SEED = 1000;

/** How an image changes. */
export interface Advance {
  readonly pattern: Pattern;
  /** Percent of the clusters. */
  readonly changed: number;
}

export class Subject {
  readonly size: number;
  /** What it is made of; undefined for the user's. */
  readonly facts: ImageFacts | undefined;
  readonly #options: BenchOptions;
  readonly #first: string;
  readonly #scratch: Scratch;
  /** A copy of the user's image, which changes instead of it. */
  #copy: string | undefined;
  #path: string;
  #changes: Change[] = [];

  private constructor(
    scratch: Scratch,
    options: BenchOptions,
    path: string,
    facts: ImageFacts | undefined,
  ) {
    this.#scratch = scratch;
    this.#options = options;
    this.#first = path;
    this.#path = path;
    this.facts = facts;
    this.size = fs.statSync(path).size;
  }

  /** Makes an image of so many bytes, or takes the user's. */
  static async make(
    scratch: Scratch,
    options: BenchOptions,
    size: number,
    say: (sentence: string) => void,
  ): Promise<Subject> {
    if (options.image !== undefined) {
      return new Subject(scratch, options, fs.realpathSync(options.image), undefined);
    }
    const { seed, content } = options;
    const path = scratch.path('image');
    scratch.drop('image');
    say(`making an image of ${formatSize(size)}`);
    return new Subject(scratch, options, path, await makeImage({ path, size, seed, content }));
  }

  /** Where its present state is. */
  get path(): string {
    return this.#path;
  }

  /** Clusters that `changed` percent are, one at least. */
  clustersOf(changed: number): number {
    return Math.max(1, Math.round((this.size / CLUSTER) * (changed / 100)));
  }

  /** Where a state is that may be changed: of the user's image, a copy. */
  changeable(): string {
    const { image } = this.#options;
    if (image !== undefined && this.#copy === undefined) {
      this.#copy = this.#scratch.path('copy-of-image');
      fs.copyFileSync(image, this.#copy, fs.constants.COPYFILE_FICLONE);
    }
    if (this.#copy !== undefined) this.#path = this.#copy;
    return this.#path;
  }

  /** Brings the image into its next state; `how` is what the options say. */
  advance(round: number, how?: Advance): Change {
    const { image, next, seed, pattern, changed } = this.#options;
    if (image !== undefined && next !== undefined && !how) {
      const other = fs.realpathSync(next);
      this.#path = this.#path === other ? this.#first : other;
      return { extents: [{ start: 0, end: fs.statSync(this.#path).size }], undo: () => {} };
    }
    const change = changeImage(this.changeable(), {
      pattern: how?.pattern ?? pattern,
      clusterSize: CLUSTER,
      count: this.clustersOf(how?.changed ?? changed),
      seed: (seed + CHANGE_SEED * round) % 2 ** 32,
    });
    this.#changes.push(change);
    return change;
  }

  /** Brings back the state that the image was made in. */
  reset(): void {
    for (const { undo } of this.#changes.reverse()) undo();
    this.#changes = [];
    this.#path = this.#first;
  }

  /** Removes what was made here. */
  drop(): void {
    this.reset();
    if (this.#copy !== undefined) fs.rmSync(this.#copy);
    if (this.facts) fs.rmSync(this.#first);
  }
}
