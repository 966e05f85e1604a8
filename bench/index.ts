// The benchmark: what we take beside what others take, on the same image, in the same minute.

import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatSize } from '../disk/index.js';
import { VERSION } from '../snapshot/index.js';
import { bulk } from './bulk.js';
import { first, none } from './first.js';
import { history } from './history.js';
import { type ImageFacts, makeImage } from './image.js';
import type { Job, Result } from './job.js';
import { diff, update, verify } from './later.js';
import { describeMachine, freeBytes } from './machine.js';
import { next, scan } from './next.js';
import { type BenchOptions, CASES, type CaseName, parseOptions, USAGE } from './options.js';
import { pause } from './pause.js';
import { findPeers } from './peers.js';
import { restore } from './restore.js';
import { scale, sparse } from './scale.js';
import { Scratch } from './scratch.js';
import { describe, type Report } from './table.js';

export { EvolvingImage, type EvolvingOptions, isSound, type Method } from './evolving.js';
export { changeImage, type ImageFacts, type ImageOptions, makeImage } from './image.js';
export {
  counterOf,
  FIRST_BYTES,
  type Memory,
  momentOf,
  RAM_BYTES,
  SECOND_BYTES,
  SLOWLY,
  writeTinyGuest,
} from './tiny-guest.js';

const RUN: Readonly<Record<CaseName, (job: Job) => Promise<Result | readonly Result[]>>> = {
  first,
  restore,
  verify,
  next,
  none,
  scan,
  update,
  diff,
  scale,
  sparse,
  bulk,
  history,
  pause,
};

/** Files there are at once, as multiples of the image: itself, stores, repositories, what is restored. */
const FILES_OF_SMALL = 4;
const FILES_OF_BIG = 2;
/** And where big images are restored too. */
const FILES_OF_COPIES = 5;

/** Refuses before the work what would end in the middle of it. */
const checkSpace = ({ size, big, dir, only }: BenchOptions): void => {
  const bigToo = only.has('none') || only.has('scan');
  const copies = ['update', 'diff', 'scale', 'sparse'].some((name) => only.has(name as CaseName));
  const ofBig = copies ? FILES_OF_COPIES : bigToo ? FILES_OF_BIG : 0;
  const needed = Math.max(size * FILES_OF_SMALL, big * ofBig);
  const free = freeBytes(dir);
  if (free >= needed) return;
  throw new Error(
    `${dir} has ${formatSize(free)} free, and up to ${formatSize(needed)} are needed: ` +
      'choose another --dir, or smaller images with --size and --big.',
  );
};

/** Runs the cases asked for, in an order in which each finds its image unchanged or may change it. */
const runCases = async (options: BenchOptions, say: (words: string) => void): Promise<Report> => {
  checkSpace(options);
  const machine = describeMachine(options.dir);
  const peers = findPeers();
  const scratch = new Scratch(options.dir);
  const images: ImageFacts[] = [];
  const made = { path: '', size: 0 };
  const job: Job = {
    scratch,
    options,
    say,
    has: (name) => peers.some((peer) => peer.name === name && peer.version !== undefined),
    async image(size) {
      if (made.size === size) return made.path;
      for (const name of ['image', 'store.qcow2']) scratch.drop(name);
      say(`making an image of ${formatSize(size)}`);
      Object.assign(made, { path: scratch.path('image'), size });
      images.push(await makeImage({ path: made.path, size, seed: options.seed }));
      return made.path;
    },
  };
  const results: Result[] = [];
  try {
    for (const name of CASES.filter((name) => options.only.has(name))) {
      say(name);
      results.push(...[await RUN[name](job)].flat());
    }
  } finally {
    scratch.remove();
  }
  return { version: VERSION, machine, peers, runs: options.runs, images, results };
};

/** Runs the program; resolves to its exit code. */
const main = async (words: readonly string[]): Promise<number> => {
  let options: BenchOptions | undefined;
  try {
    options = parseOptions(words);
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}\n${USAGE}`);
    return 2;
  }
  if (!options) {
    console.log(USAGE);
    return 0;
  }
  try {
    const report = await runCases(options, (sentence) => console.error(`bench: ${sentence}`));
    console.log(options.json ? JSON.stringify(report, undefined, 2) : describe(report));
    return 0;
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
};

const program = process.argv[1];
if (program !== undefined && realpathSync(program) === fileURLToPath(import.meta.url)) {
  process.exitCode = await main(process.argv.slice(2));
}
