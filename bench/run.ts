// Runs the cases asked for, and puts together what they found.

import { dirname, join } from 'node:path';
import { fault } from '../disk/index.js';
import { VERSION } from '../snapshot/index.js';
import { bulk } from './commands/bulk.js';
import { dirty } from './commands/dirty.js';
import { fast, first, none, zlib } from './commands/first.js';
import { diff, start } from './commands/later.js';
import { next } from './commands/next.js';
import { pause } from './commands/pause.js';
import { remove } from './commands/remove.js';
import { restore, update, verify } from './commands/restore.js';
import type { Job } from './job.js';
import { decode, encode } from './kernels/codecs.js';
import { digests, zeroTest } from './kernels/digests.js';
import { tables } from './kernels/tables.js';
import { describeCommit, describeMachine, freeBytes, type Machine } from './measure/machine.js';
import { findPeers, type Peer } from './measure/peers.js';
import { Scratch } from './measure/scratch.js';
import { type BenchOptions, CASE_NAMES, CASES, type CaseName } from './options.js';
import { hops } from './pipeline/hops.js';
import { overhead } from './pipeline/overhead.js';
import { timeline } from './pipeline/timeline.js';
import type { Result } from './result.js';
import { byCluster, byCodec, byPattern, byRate, bySize, byThreads } from './scale/curves.js';
import { history } from './scale/history.js';
import { huge, sparse } from './scale/huge.js';
import { stageCases } from './stages/cases.js';
import { Subject } from './subject.js';
import type { ImageFacts } from './workload/image.js';

/** Everything that a run of the benchmark has to tell; plain data. */
export interface Report {
  readonly version: string;
  /** The commit of the sources, in a clone. */
  readonly commit: string | undefined;
  /** When it began, as in ISO 8601. */
  readonly date: string;
  readonly machine: Machine;
  readonly peers: readonly Peer[];
  /** What was asked for. */
  readonly options: Readonly<Record<string, string | number>>;
  readonly images: readonly ImageFacts[];
  readonly results: readonly Result[];
}

type Case = (job: Job) => Promise<Result | readonly Result[]>;

const RUN: Readonly<Record<string, Case>> = {
  'zero-test': zeroTest,
  digests,
  encode,
  decode,
  tables,
  ...stageCases,
  hops,
  overhead,
  timeline,
  first,
  fast,
  zlib,
  restore,
  verify,
  remove,
  start,
  none,
  next,
  dirty,
  update,
  diff,
  bulk,
  pause,
  'by-size': bySize,
  'by-rate': byRate,
  'by-pattern': byPattern,
  'by-cluster': byCluster,
  'by-codec': byCodec,
  'by-threads': byThreads,
  history,
  huge,
  sparse,
} satisfies Partial<Record<CaseName, Case>>;

/** Files there are at once, as multiples of the image: itself, stores, repositories, what is restored. */
const FILES: Readonly<Record<'size' | 'big', Readonly<Partial<Record<CaseName, number>>>>> = {
  size: { first: 5, restore: 6, remove: 6 },
  big: { none: 4, next: 4, dirty: 5, update: 4, diff: 3, huge: 5, sparse: 4 },
};
const FILES_OF_OTHERS = 3;

/** Bytes that the cases need at once, at most. */
const neededBytes = ({ cases, size, big }: BenchOptions): number =>
  Math.max(
    ...[...cases].map((name) => (FILES.size[name] ?? FILES_OF_OTHERS) * size),
    ...[...cases].map((name) => (FILES.big[name] ?? 0) * big),
  );

/** Refuses before the work what would end in the middle of it. */
const checkSpace = (options: BenchOptions): void => {
  const needed = neededBytes(options);
  const free = freeBytes(options.dir);
  if (free >= needed) return;
  throw fault('bench-space', { dir: options.dir, free, needed });
};

const describeOptions = (options: BenchOptions): Report['options'] => {
  const { size, big, content, pattern, changed, rounds, seed, cache, kernelMs, image, next } =
    options;
  return {
    ...{ size, big, content, pattern, changed, rounds, seed, cache, kernelMs },
    ...(image === undefined ? {} : { image }),
    ...(next === undefined ? {} : { next }),
  };
};

/** Runs the cases that `options` name; `say` hears what goes on. Leaves nothing behind. */
export const runBench = async (
  options: BenchOptions,
  say: (sentence: string) => void,
): Promise<Report> => {
  checkSpace(options);
  const date = new Date().toISOString();
  const machine = describeMachine(options.dir);
  // Only whole commands are measured beside others, or proven by them.
  const commands: readonly CaseName[] = [...CASES.commands, ...CASES.scale];
  const peers = commands.some((name) => options.cases.has(name)) ? findPeers() : [];
  const scratch = new Scratch(options.dir);
  const images = new Map<number, ImageFacts>();
  let subject: Subject | undefined;
  const job: Job = {
    scratch,
    options,
    say,
    has: (name) => peers.some((peer) => peer.name === name && peer.version !== undefined),
    async subject(size) {
      if (!subject || (subject.facts && subject.size !== size)) {
        subject?.drop();
        subject = await Subject.make(scratch, options, size, say);
        if (subject.facts) images.set(size, subject.facts);
      }
      subject.reset();
      return subject;
    },
  };
  const results: Result[] = [];
  try {
    for (const name of CASE_NAMES.filter((one) => options.cases.has(one))) {
      say(name);
      results.push(...[await (RUN[name] as Case)(job)].flat());
    }
  } finally {
    scratch.remove();
  }
  return {
    version: VERSION,
    commit: describeCommit(join(dirname(options.program), '../..')),
    date,
    machine,
    peers,
    options: describeOptions(options),
    images: [...images.values()],
    results,
  };
};
