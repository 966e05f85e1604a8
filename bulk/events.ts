// What a bulk run tells while it is under way, and how its progress adds up.

import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import type TypedEmitter from 'typed-emitter';
import type { Progress } from '../snapshot/index.js';
import type { HookOutcome, JobOutcome, MachineOutcome } from './outcome.js';
import type { Job, MachineJob } from './plan.js';

/** How far all jobs together are. */
export interface BulkProgress {
  /** Image bytes dealt with, holes included, and of how many. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
  /** Seconds until the end at this rate; undefined while nothing is known. */
  readonly etaSeconds: number | undefined;
  readonly elapsedMs: number;
  /** Jobs that have ended, of how many, and how many of them failed. */
  readonly endedJobs: number;
  readonly failedJobs: number;
  readonly jobs: number;
  /** Names of those at work. */
  readonly running: readonly string[];
}

export type BulkEvents = {
  /** At most ten times a second, and once at the end. */
  progress: (progress: BulkProgress) => void;
  /** One job's own progress, at most ten times a second. */
  job: (name: string, progress: Progress) => void;
  /** Something to know about one job that does not stop it. */
  notice: (name: string, sentence: string) => void;
  /** A job has ended, a machine's, or a hook. */
  ended: (outcome: JobOutcome) => void;
  machine: (outcome: MachineOutcome) => void;
  hook: (outcome: HookOutcome) => void;
};

export type BulkEmitter = TypedEmitter.default<BulkEvents>;

export const createBulkEmitter = (): BulkEmitter => new EventEmitter() as BulkEmitter;

const PROGRESS_INTERVAL_MS = 100;

interface Share {
  done: number;
  total: number;
  state: 'waiting' | 'running' | 'ended';
  failed: boolean;
}

/** A file says its size; a device, or what is not there, has none yet. */
const sizeOf = (path: string): number => {
  try {
    return fs.statSync(path).size;
  } catch {
    return 0;
  }
};

/** Adds up what the takes report. */
export class BulkMeter {
  readonly #events: BulkEmitter | undefined;
  readonly #shares: ReadonlyMap<string, Share>;
  readonly #began = performance.now();
  #last = 0;

  constructor(
    jobs: readonly Job[],
    machines: readonly MachineJob[],
    events: BulkEmitter | undefined,
  ) {
    this.#events = events;
    const waiting = (name: string, total: number): [string, Share] => [
      name,
      { done: 0, total, state: 'waiting', failed: false },
    ];
    this.#shares = new Map([
      ...machines.map(({ name }) => waiting(name, 0)),
      ...jobs.map(({ name, image }) => waiting(name, sizeOf(image))),
    ]);
  }

  get elapsedMs(): number {
    return performance.now() - this.#began;
  }

  #share(name: string): Share {
    const share = this.#shares.get(name);
    if (!share) throw new Error(`there is no job ${name}`);
    return share;
  }

  started(name: string): void {
    this.#share(name).state = 'running';
    this.#tick();
  }

  /** One take's progress. */
  progress(name: string, progress: Pick<Progress, 'doneBytes' | 'totalBytes'>): void {
    const share = this.#share(name);
    share.done = progress.doneBytes;
    share.total = progress.totalBytes;
    this.#tick();
  }

  /** What a failed job has not done, nobody waits for. */
  ended(name: string, failed: boolean): void {
    const share = this.#share(name);
    share.state = 'ended';
    share.failed = failed;
    share.total = failed ? share.done : Math.max(share.done, share.total);
    share.done = share.total;
    this.#tick();
  }

  #tick(): void {
    const now = this.elapsedMs;
    if (!this.#events || now - this.#last < PROGRESS_INTERVAL_MS) return;
    this.#last = now;
    this.#emit();
  }

  /** The last event: every job has ended. */
  end(): void {
    this.#emit();
  }

  #emit(): void {
    const shares = [...this.#shares.values()];
    const sum = (of: (share: Share) => number): number =>
      shares.reduce((total, share) => total + of(share), 0);
    const { elapsedMs } = this;
    const [doneBytes, totalBytes] = [sum(({ done }) => done), sum(({ total }) => total)];
    const bytesPerSecond = elapsedMs > 0 ? (doneBytes / elapsedMs) * 1000 : 0;
    this.#events?.emit('progress', {
      doneBytes,
      totalBytes,
      bytesPerSecond,
      etaSeconds: bytesPerSecond > 0 ? (totalBytes - doneBytes) / bytesPerSecond : undefined,
      elapsedMs,
      endedJobs: sum(({ state }) => (state === 'ended' ? 1 : 0)),
      failedJobs: sum(({ failed }) => (failed ? 1 : 0)),
      jobs: shares.length,
      running: [...this.#shares].flatMap(([name, { state }]) =>
        state === 'running' ? [name] : [],
      ),
    });
  }
}
