// The events of a run, typed. They are rate-limited here, so that a listener may be as slow as it
// likes to print and the pipeline never pays per cluster.

import { EventEmitter } from 'node:events';
import type TypedEmitter from 'typed-emitter';
import type { StageReport } from './tally.js';

/** How far a run is. */
export interface Progress {
  /** What is being done, for people: "take", "restore". */
  readonly verb: string;
  /** Image bytes dealt with, holes included, and of how many. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Image bytes per second since the run began. */
  readonly bytesPerSecond: number;
  /** Seconds until the end at this rate; undefined while nothing is known. */
  readonly etaSeconds: number | undefined;
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
}

/** One batch is through one stage. */
export interface BatchDone {
  readonly stage: string;
  /** First image byte. */
  readonly offset: number;
  readonly bytes: number;
  /** When, by performance.now(); the work took `workMs` before that. */
  readonly endedMs: number;
  readonly workMs: number;
}

export type RunEvents = {
  /** At most ten times a second, and once at the end. */
  progress: (progress: Progress) => void;
  /** Something the user should know that does not stop the run. */
  notice: (sentence: string) => void;
  /** Every batch at every stage, for those who draw what a run did. */
  batch: (done: BatchDone) => void;
};

export type RunEmitter = TypedEmitter.default<RunEvents>;

export const createEmitter = (): RunEmitter => new EventEmitter() as RunEmitter;

/** Least time between two progress events. */
const PROGRESS_INTERVAL_MS = 100;

/** Turns what the stages report into progress events. */
export class ProgressMeter {
  readonly #events: RunEmitter | undefined;
  readonly #verb: string;
  readonly #totalBytes: number;
  readonly #stages: (elapsedMs: number) => readonly StageReport[];
  readonly #began = performance.now();
  #doneBytes = 0;
  #last = 0;

  constructor(
    events: RunEmitter | undefined,
    verb: string,
    totalBytes: number,
    stages: (elapsedMs: number) => readonly StageReport[],
  ) {
    this.#events = events;
    this.#verb = verb;
    this.#totalBytes = totalBytes;
    this.#stages = stages;
  }

  get elapsedMs(): number {
    return performance.now() - this.#began;
  }

  /** Image bytes that are not dealt with yet. */
  get leftBytes(): number {
    return this.#totalBytes - this.#doneBytes;
  }

  /** Counts image bytes as dealt with. */
  advance(bytes: number): void {
    this.#doneBytes += bytes;
    if (!this.#events) return;
    const now = this.elapsedMs;
    if (now - this.#last < PROGRESS_INTERVAL_MS) return;
    this.#last = now;
    this.#emit();
  }

  /** The last event: everything is done. */
  end(): void {
    if (this.#events) this.#emit();
  }

  #emit(): void {
    const elapsedMs = this.elapsedMs;
    const bytesPerSecond = elapsedMs > 0 ? (this.#doneBytes / elapsedMs) * 1000 : 0;
    const rest = this.leftBytes;
    this.#events?.emit('progress', {
      verb: this.#verb,
      doneBytes: this.#doneBytes,
      totalBytes: this.#totalBytes,
      bytesPerSecond,
      etaSeconds: bytesPerSecond > 0 ? rest / bytesPerSecond : undefined,
      elapsedMs,
      stages: this.#stages(elapsedMs),
    });
  }
}
