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
  /** Share of the same time in which threads had nothing to do, as no batch had come yet. */
  readonly inputShare: number;
  /**
   * And as there was no room for more: what was done was not taken, or all slabs were further down the line. What is
   * missing to 1 went into handing batches over and starting threads.
   */
  readonly outputShare: number;
  /** Batches in its threads or queued for them. */
  readonly queued: number;
  /** What its threads had to say when all was through, one entry each; left out where none has. */
  readonly parts?: readonly unknown[];
}

const rounded = (share: number): number => Math.round(share * 1000) / 1000;

export class StageTally {
  readonly #stage: string;
  #batches = 0;
  #bytes = 0;
  #micros = 0;
  #queued = 0;
  /** When the threads last began or ceased to wait, how many do since then, and whether for room. */
  #since = performance.now();
  #idle = 1;
  #blocked = false;
  #inputMs = 0;
  #outputMs = 0;

  constructor(stage: string) {
    this.#stage = stage;
  }

  /** Image bytes that went through. */
  get bytes(): number {
    return this.#bytes;
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

  /** Notes how many of its threads wait from now on; `blocked`: for room. */
  turn(threads: number, blocked: boolean): void {
    this.#settle();
    this.#idle = Math.max(0, threads - this.#queued);
    this.#blocked = blocked;
  }

  #settle(): void {
    const now = performance.now();
    const waited = this.#idle * (now - this.#since);
    if (this.#blocked) this.#outputMs += waited;
    else this.#inputMs += waited;
    this.#since = now;
  }

  report(threads: number, elapsedMs: number): StageReport {
    this.#settle();
    const busyMs = this.#micros / 1000;
    const share = (ms: number): number =>
      elapsedMs > 0 ? rounded(ms / (Math.max(1, threads) * elapsedMs)) : 0;
    return {
      stage: this.#stage,
      threads,
      batches: this.#batches,
      bytes: this.#bytes,
      busyMs: Math.round(busyMs * 10) / 10,
      busyShare: share(busyMs),
      inputShare: share(this.#inputMs),
      outputShare: share(this.#outputMs),
      queued: this.#queued,
    };
  }
}
