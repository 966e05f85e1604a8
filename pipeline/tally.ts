// What each stage has done so far: the figures behind progress and the per-stage report.

/** One stage's part of a report. */
export interface StageReport {
  readonly stage: string;
  /** Threads that were started; 0 when all its work was done on the main thread. */
  readonly threads: number;
  readonly batches: number;
  /** Image bytes that went through. */
  readonly bytes: number;
  /** Time its threads were at work, in milliseconds, all threads together. */
  readonly busyMs: number;
  /** busyMs / (threads × elapsed), without threads busyMs / elapsed: 1 means it is the bottleneck. */
  readonly busyShare: number;
  /** Batches in its threads or queued for them. */
  readonly queued: number;
  /** What its threads had to say when all was through, one entry each; left out where none has. */
  readonly parts?: readonly unknown[];
}

export class StageTally {
  readonly #stage: string;
  #batches = 0;
  #bytes = 0;
  #micros = 0;
  #queued = 0;

  constructor(stage: string) {
    this.#stage = stage;
  }

  begin(): void {
    this.#queued += 1;
  }

  end(micros: number, bytes: number): void {
    this.#queued -= 1;
    this.#batches += 1;
    this.#bytes += bytes;
    this.#micros += micros;
  }

  report(threads: number, elapsedMs: number): StageReport {
    const busyMs = this.#micros / 1000;
    return {
      stage: this.#stage,
      threads,
      batches: this.#batches,
      bytes: this.#bytes,
      busyMs: Math.round(busyMs * 10) / 10,
      busyShare:
        elapsedMs > 0 ? Math.round((busyMs / (Math.max(1, threads) * elapsedMs)) * 1000) / 1000 : 0,
      queued: this.#queued,
    };
  }
}
