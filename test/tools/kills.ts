// Takes by real processes that are killed, and what must be left of the store afterwards.

import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { list } from '../../snapshot/index.js';
import { Random, sameFile } from './files.js';
import { type Ended, nvsnap, startNvsnap } from './nvsnap.js';
import { Generation } from './powercut.js';
import { checkClean } from './qemu.js';

const PIECE_BYTES = 64 * 1024;

/** Overwrites a share of a file's pieces with incompressible bytes. */
const scramble = (path: string, share: number, random: Random): void => {
  const fd = fs.openSync(path, 'r+');
  const pieces = fs.fstatSync(fd).size / PIECE_BYTES;
  for (let piece = 0; piece < pieces; piece += 1) {
    if (random.below(1000) >= share * 1000) continue;
    fs.writeSync(fd, random.bytes(PIECE_BYTES), 0, PIECE_BYTES, piece * PIECE_BYTES);
  }
  fs.closeSync(fd);
};

const tagsOf = async (store: string): Promise<string[]> =>
  (await list({ store })).map(({ tag }) => tag);

/** Bytes that a running process has written so far, whatever to; 0 when it is gone. */
const bytesWritten = (pid: number): number => {
  try {
    const [, count] = /^wchar: (\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/io`, 'utf8')) ?? [];
    return Number(count ?? 0);
  } catch {
    return 0;
  }
};

/** How a take ended, and what it had written by then. */
export interface Stopped extends Ended {
  readonly written: number;
}

/** Starts nvsnap and sends it a signal once it has written so many bytes. */
export const stopWhenWritten = async (
  args: readonly string[],
  bytes: number,
  signal: NodeJS.Signals,
): Promise<Stopped> => {
  const { child, ended } = startNvsnap(args);
  let written = 0;
  while (child.exitCode === null && child.signalCode === null && written < bytes) {
    await sleep(1);
    written = Math.max(written, bytesWritten(child.pid as number));
  }
  if (written >= bytes) child.kill(signal);
  return { ...(await ended), written };
};

/** A folder with an image, and a store of it that takes are killed in. */
export class Victim {
  readonly folder: string;
  readonly image: string;
  readonly store: string;
  readonly #random: Random;
  readonly #args: readonly string[];

  /** `args` go to every take. */
  constructor(folder: string, imageBytes: number, seed: number, args: readonly string[] = []) {
    this.folder = fs.mkdtempSync(join(folder, 'victim-'));
    this.image = join(this.folder, 'image');
    this.store = join(this.folder, 'store');
    this.#random = new Random(seed);
    this.#args = args;
    fs.writeFileSync(this.image, '');
    fs.truncateSync(this.image, imageBytes);
    scramble(this.image, 0.9, this.#random);
  }

  /** Changes a share of the image. */
  change(share: number): void {
    scramble(this.image, share, this.#random);
  }

  /** Runs a take to its end; throws when it fails. */
  async take(tag: string): Promise<void> {
    const { status, stderr } = await nvsnap(this.#take(tag));
    if (status !== 0) throw new Error(stderr);
  }

  #take(tag: string): string[] {
    return ['take', this.image, this.store, '--tag', tag, ...this.#args];
  }

  /** Starts a take, with more options, and sends it a signal once it has written so many bytes. */
  stopWhenWritten(
    tag: string,
    bytes: number,
    signal: NodeJS.Signals,
    more: readonly string[] = [],
  ): Promise<Stopped> {
    return stopWhenWritten([...this.#take(tag), ...more], bytes, signal);
  }

  tags(): Promise<string[]> {
    return tagsOf(this.store);
  }

  /** Files in the folder that nobody asked for. */
  litter(): string[] {
    return fs.readdirSync(this.folder).filter((name) => name !== 'image' && name !== 'store');
  }

  /** Throws unless the snapshot restores to exactly the image as it is now. */
  async checkRestored(tag: string): Promise<void> {
    const output = join(this.folder, 'restored');
    const { status, stderr } = await nvsnap(['restore', this.store, tag, output]);
    if (status !== 0) throw new Error(stderr);
    if (!sameFile(output, this.image)) throw new Error(`${tag} differs from its image`);
    fs.rmSync(output);
  }
}

/** A store as it must be found after a kill. */
export class Before {
  readonly #generation: Generation;
  readonly #copy: Buffer;

  constructor(store: string) {
    this.#copy = fs.readFileSync(store);
    this.#generation = new Generation(this.#copy);
  }

  get size(): number {
    return this.#copy.length;
  }

  /**
   * Judges a store after a take was ended: true when the take was published, false when the store is
   * as it was. Throws when it is neither.
   */
  async isPublished(store: string, oldTags: readonly string[], tag: string): Promise<boolean> {
    checkClean(store);
    const state = fs.readFileSync(store);
    if (this.#generation.isPublishedIn(state)) {
      const difference = this.#generation.firstDifference(state);
      if (difference === -1) return false;
      throw new Error(`cluster ${difference} of the store is not as it was`);
    }
    const tags = await tagsOf(store);
    if (tags.join() !== [...oldTags, tag].join()) throw new Error(`it lists ${tags.join()}`);
    return true;
  }

  /** Puts the store back. */
  restore(store: string): void {
    fs.writeFileSync(store, this.#copy);
  }
}

/** What came of many kills. */
export interface Toll {
  /** Kills that ended a process under way. */
  landed: number;
  /** Of these, how many left the new snapshot published. */
  published: number;
  /** Names of files that a kill left behind. */
  litter: string[];
  /** The longest the store ever was. */
  longest: number;
}

/**
 * Kills takes into one store, one after another and each into what the last one left. When is decided
 * by what the take has written, of the `written` bytes of an uninterrupted one, and not by the clock:
 * a busy machine kills at the same places.
 */
export const killTakes = async (
  victim: Victim,
  options: { kills: number; written: number; seed: number; oldTags: readonly string[] },
): Promise<Toll> => {
  const random = new Random(options.seed);
  const toll: Toll = { landed: 0, published: 0, litter: [], longest: 0 };
  const before = fs.existsSync(victim.store) ? new Before(victim.store) : undefined;
  for (let tries = 0; toll.landed < options.kills && tries < 3 * options.kills; tries += 1) {
    const share = random.below(1001) / 1000;
    const how = await victim.stopWhenWritten('cut', 1 + share * options.written, 'SIGKILL');
    // A take that was quicker than the eye on it does not count.
    toll.landed += how.signal === 'SIGKILL' ? 1 : 0;
    toll.litter.push(...victim.litter());
    if (!fs.existsSync(victim.store)) continue;
    toll.longest = Math.max(toll.longest, fs.statSync(victim.store).size);
    const published = before
      ? await before.isPublished(victim.store, options.oldTags, 'cut')
      : await firstIsPublished(victim);
    if (!published) continue;
    toll.published += how.signal === 'SIGKILL' ? 1 : 0;
    await victim.checkRestored('cut');
    if (before) before.restore(victim.store);
    else fs.rmSync(victim.store);
  }
  return toll;
};

/** After a killed first take: true when it was published, false when the store is still empty. */
const firstIsPublished = async (victim: Victim): Promise<boolean> => {
  checkClean(victim.store);
  const tags = await victim.tags();
  if (tags.length > 1 || (tags.length === 1 && tags[0] !== 'cut')) throw new Error(tags.join());
  return tags.length === 1;
};

/** Runs one take from start to end: what it writes, and how long the store becomes. */
export const uninterrupted = async (
  victim: Victim,
): Promise<{ readonly written: number; readonly storeBytes: number }> => {
  const before = fs.existsSync(victim.store) ? new Before(victim.store) : undefined;
  const { written, status, stderr } = await victim.stopWhenWritten(
    'cut',
    Number.POSITIVE_INFINITY,
    'SIGKILL',
  );
  if (status !== 0) throw new Error(stderr);
  const storeBytes = fs.statSync(victim.store).size;
  if (before) before.restore(victim.store);
  else fs.rmSync(victim.store);
  return { written, storeBytes };
};
