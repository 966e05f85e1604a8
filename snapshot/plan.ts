// How many threads each stage gets, and how much memory the batches may take.

import { availableParallelism } from 'node:os';
import { fault, MiB } from '../disk/index.js';
import {
  type Pools,
  type SlabLayout,
  SlabPool,
  type Step,
  slabBytes,
  TASKS_PER_THREAD,
} from '../pipeline/index.js';
import type { Crew } from '../stages/index.js';

/** Threads per stage by name; a number is for all stages. */
export type Threads = number | Readonly<Record<string, number>>;

const MAX_THREADS = 256;
/**
 * Image bytes of a batch. Every hop from thread to thread costs 20 to 100 µs and more where processors must be
 * woken: at 8 MiB a first take needs 8 % less of a processor than at 4 MiB; where little is done with a batch, it is
 * larger.
 */
const LIGHT_BATCH_BYTES = 16 * MiB;
const LARGE_BATCH_BYTES = 8 * MiB;
const BATCH_BYTES = 4 * MiB;
/** What a small --memory leads to. */
const SMALL_BATCH_BYTES = MiB;
/** So many batches at least keep all threads of a small job busy. */
const MIN_BATCHES = 16;
/**
 * A span may stand for so many times as much as it has room for, and, where little of the image is read, for as much more:
 * then what is to be done with a batch costs less than its way through the line.
 */
const ROOMS = 16;
const MOST_ROOMS = 64;
/** So many clusters at most, of which 60 bytes each are in the slab. */
const MOST_CLUSTERS = 16_384;
/** One batch in the source, one in the sink. */
const OUTSIDE_STAGES = 2;
/** With fewer slabs than this, stages wait for each other. */
const MIN_SLABS = 4;
/** What all slabs together may take unless --memory says otherwise. */
const DEFAULT_MEMORY = 192 * MiB;

/** What was asked for, or the default; in bytes. */
export const memoryOf = (memory = DEFAULT_MEMORY): number => memory;

/** What each of two lines that run at once may take of `memory`. */
export const halfOf = (memory?: number): number => Math.floor(memoryOf(memory) / 2);

/** Threads for one stage: what was asked for it, or `usual` capped by the machine and the work. */
const threadsFor = (
  stage: string,
  asked: Threads | undefined,
  usual: number,
  batches: number,
): number => {
  const wanted = typeof asked === 'number' ? asked : asked?.[stage];
  if (wanted === undefined) return Math.max(1, Math.min(usual, availableParallelism(), batches));
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > MAX_THREADS) {
    throw fault('usage', {
      problem: `${wanted} is not a number of threads.`,
      advice: `Give 1 to ${MAX_THREADS}, or leave --threads out.`,
    });
  }
  return Math.min(wanted, Math.max(1, batches));
};

export const checkThreadNames = (asked: Threads | undefined, known: readonly string[]): void => {
  if (asked === undefined || typeof asked === 'number') return;
  const unknown = Object.keys(asked).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw fault('usage', {
    problem: `There is no stage ${JSON.stringify(unknown)} to give threads to.`,
    advice: `The stages are: ${known.join(', ')}.`,
  });
};

/** Bytes to do something with in about what starting a thread costs, 50 ms of a processor. */
const WORTH_THREADS = { reading: 256 * MiB, storing: 128 * MiB, coding: 32 * MiB } as const;

/** Bytes that the fewest and smallest slabs of a take need at most. */
const leastFor = (clusterSize: number): number =>
  MIN_SLABS * 2 * (Math.max(SMALL_BATCH_BYTES, clusterSize) + MiB);

/** Bytes of `memory` that a take may use for something else than its slabs: half, if the rest suffices for these. */
export const spareOf = (memory: number | undefined, clusterSize: number): number =>
  Math.min(halfOf(memory), memoryOf(memory) - leastFor(clusterSize));

/** The memory of which `spare` bytes are to spare. */
export const memoryToSpare = (spare: number, clusterSize: number): number =>
  Math.max(2 * spare, spare + leastFor(clusterSize));

/** True when so many image bytes are sure to be worth threads. */
export const isLarge = (bytes: number, work: keyof typeof WORTH_THREADS): boolean =>
  bytes >= WORTH_THREADS[work];

/**
 * Image bytes of a batch for an image of `size` bytes. `light`: little is done with most of them, as where they are
 * only read, or written as they are.
 */
export const batchBytesFor = (
  clusterSize: number,
  size: number,
  memory = DEFAULT_MEMORY,
  light = false,
): number => {
  // A slab holds a batch twice, plain and packed.
  const affords = (batch: number): boolean => memory >= MIN_SLABS * 2 * (batch + MiB);
  const suits = (batch: number): boolean => affords(batch) && size >= MIN_BATCHES * batch;
  const large = light ? LIGHT_BATCH_BYTES : LARGE_BATCH_BYTES;
  const small = affords(BATCH_BYTES) ? BATCH_BYTES : SMALL_BATCH_BYTES;
  const usual = suits(large) ? large : small;
  const needed = Math.ceil(Math.max(1, size) / clusterSize) * clusterSize;
  return Math.max(clusterSize, Math.min(usual, needed));
};

/** How a take's image is cut; bytes. */
export interface Cut {
  /** What a batch has room for. */
  readonly room: number;
  /** What it may stand for. */
  readonly reach: number;
}

/** How an image is gone through. */
export interface Way {
  readonly spans: boolean;
  /** Where there are no spans: little is done with a batch. */
  readonly light: boolean;
  /** So much of the image is read. */
  readonly bytes: number;
}

/** The cut of an image of `size` bytes. */
export const cutFor = (
  clusterSize: number,
  size: number,
  memory: number | undefined,
  { spans, light, bytes }: Way,
): Cut => {
  const room = batchBytesFor(clusterSize, size, memory, light && !spans);
  if (!spans) return { room, reach: room };
  let reach = ROOMS * room;
  const most = Math.max(reach, Math.min(MOST_ROOMS * room, MOST_CLUSTERS * clusterSize));
  // Of twice as much no more is read than half of what there is room for.
  while (2 * reach <= most && 4 * reach * bytes <= room * size) reach *= 2;
  while (reach > room && size < MIN_BATCHES * reach) reach /= 2;
  return { room, reach };
};

/** The slabs for such batches, with room for payloads. */
export const cutLayout = (clusterSize: number, cut: Cut, packedBytes: number): SlabLayout => ({
  clusterSize,
  clusters: cut.reach / clusterSize,
  room: cut.room / clusterSize,
  packedBytes,
});

/**
 * Gives each stage of a line its crew: `usual` threads unless others were asked for, started at once where the
 * job is large and the stage's work is sure.
 */
export const planCrews =
  (asked: Threads | undefined, batches: number, large: boolean) =>
  (stage: string, usual: number, sure: boolean): Crew => ({
    threads: threadsFor(stage, asked, usual, batches),
    early: large && sure,
  });

/** A slab for reading a store: a payload is known only to the sector and may be up to two clusters long. */
export const readingLayout = (clusterSize: number, batchBytes: number): SlabLayout => ({
  clusterSize,
  clusters: batchBytes / clusterSize,
  packedBytes: batchBytes + 2 * clusterSize,
});

/** The slabs for a line of stages, within `memory` bytes. */
export const planSlabs = (
  layout: SlabLayout,
  steps: readonly Step[],
  batches: number,
  memory = DEFAULT_MEMORY,
  pools?: Pools,
): SlabPool => {
  if (!Number.isSafeInteger(memory)) {
    throw fault('usage', {
      problem: `${memory} is not a number of bytes of memory.`,
      advice: 'Give a whole number.',
    });
  }
  const each = slabBytes(layout);
  const threads = steps.reduce((sum, step) => sum + ('threads' in step ? step.threads : 0), 0);
  const wanted = Math.min(threads * TASKS_PER_THREAD, batches) + OUTSIDE_STAGES;
  const affordable = Math.floor(memory / each);
  if (affordable < Math.min(wanted, MIN_SLABS)) {
    throw fault('memory-too-small', { given: memory, needed: each * MIN_SLABS });
  }
  return new SlabPool(layout, Math.min(wanted, affordable), pools?.stock);
};
