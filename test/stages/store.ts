// A small store, and an image that has changed since its snapshot was taken: what a take with a bad stage leaves is
// held against what was there before.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Pools, type StageRequest, type TakeOptions, take } from '../../snapshot/index.js';
import { Random, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { MAIN } from '../tools/nvsnap.js';
import { publishedDigest } from '../tools/tables.js';

const MiB = 2 ** 20;
const CLUSTER = 64 * 1024;
/** With so little, a batch has 1 MiB. */
const MEMORY = 39 * MiB;
/** Image bytes of a batch. */
export const BATCH_BYTES = MiB;
const BATCHES = 4;

/** The URL of a module of bad/. */
export const bad = (name: string): string => new URL(`./bad/${name}.js`, import.meta.url).href;

/** How long an end may take before it counts as a hang: far more than any machine needs. */
const HANG_MS = 60_000;

/** Fails what does not end. */
export const within = async <T>(promise: Promise<T>, what: string): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} does not end`)), HANG_MS);
  });
  try {
    return await Promise.race([promise, hang]);
  } finally {
    clearTimeout(timer);
  }
};

/** A store with one snapshot, and the image as it is now. */
export class Ground {
  readonly folder: string;
  readonly image: string;
  readonly store: string;
  readonly judge: Judge;
  /** The stages through which the store is written. */
  readonly #links: readonly StageRequest[];
  /** Threads of all takes: what one leaves of them, the next one has to do with. */
  readonly #pools = new Pools();
  #sound = Buffer.alloc(0);
  #digest = '';
  #takes = 0;

  private constructor(t: Test, links: readonly StageRequest[]) {
    this.folder = tempDir(t);
    this.image = join(this.folder, 'image');
    this.store = join(this.folder, 'store.qcow2');
    this.judge = new Judge(this.folder, this.store, links.length > 0 ? [] : undefined);
    this.#links = links;
    t.teardown(() => within(this.#pools.close(), 'closing the pools'));
  }

  static async make(t: Test, links: readonly StageRequest[] = []): Promise<Ground> {
    const ground = new Ground(t, links);
    await ground.#begin();
    return ground;
  }

  async #begin(): Promise<void> {
    const links = this.#links;
    const random = new Random(11);
    const words = Buffer.from(random.bytes((BATCHES * BATCH_BYTES * 3) / 4).toString('base64'));
    words.fill(0, 5 * CLUSTER, 7 * CLUSTER);
    fs.writeFileSync(this.image, words);
    await this.take(links, { compression: links.length > 0 ? 'none' : 'zstd', tag: 'first' });
    this.judge.remember(this.image, 'first');
    // In each batch something new, something zero, and much that is as it was.
    const now = Buffer.from(words);
    for (let at = 0; at < now.length; at += BATCH_BYTES) {
      for (const cluster of [1, 2, 9]) {
        const text = random.bytes((CLUSTER * 3) / 4).toString('base64');
        now.write(text, at + cluster * CLUSTER, 'latin1');
      }
      now.fill(0, at + 12 * CLUSTER, at + 13 * CLUSTER);
    }
    fs.writeFileSync(this.image, now);
    this.#sound = fs.readFileSync(this.store);
    this.#digest = publishedDigest(this.store);
  }

  /** Takes the image as it is now. */
  take(stages: readonly StageRequest[], options: Partial<TakeOptions> = {}) {
    const { image, store } = this;
    this.#takes += 1;
    const tag = `take-${this.#takes}`;
    const pools = this.#pools;
    return take({ image, store, tag, memory: MEMORY, threads: 1, pools, stages, ...options });
  }

  /** The command line of the same. */
  command(stage: string): string[] {
    const { image, store } = this;
    const memory = String(MEMORY);
    return ['--no-warnings', MAIN, 'take', image, store, '--memory', memory, '--stage', stage];
  }

  /** Takes the image; resolves to its error, if there is one. */
  async tries(
    what: string,
    stages: readonly StageRequest[],
    options: Partial<TakeOptions> = {},
  ): Promise<unknown> {
    try {
      await within(this.take(stages, options), `a take that ${what}`);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Asserts that a take fails and leaves nothing: no change, no thread, no lock. Resolves to its error. */
  async fails(t: Test, what: string, stages: StageRequest[], options: Partial<TakeOptions> = {}) {
    const error = await this.tries(what, stages, options);
    t.ok(error, `${what}: the take fails`);
    await this.isUntouched(t, what);
    return error;
  }

  /** Asserts that the store is as it was, and that the next take works. */
  async isUntouched(t: Test, what: string): Promise<void> {
    t.equal(publishedDigest(this.store), this.#digest, `${what}: the store is as it was`);
    t.equal(fs.statSync(this.store).size, this.#sound.length, `${what}: and as long`);
    const next = await this.take(this.#links);
    t.ok(next.storedClusters > 0, `${what}: the next take works`);
    fs.writeFileSync(this.store, this.#sound);
  }
}
