// A lane is one stage as a Node stream: batches go in, run in the stage's threads several at a time, and
// come out in the order they went in. Back-pressure and errors are the stream's own.

import { Transform, type TransformCallback } from 'node:stream';
import { TASKS_PER_THREAD } from './pool.js';
import type { Batch, SlabPool } from './slab.js';
import type { StageRun } from './stage-run.js';
import type { MainStep } from './step.js';

interface Place {
  readonly batch: Batch;
  done: boolean;
}

/** What becomes of a batch with nothing left to do. */
export type Ended = (batch: Batch) => void;

export class Lane extends Transform {
  readonly #stage: StageRun;
  readonly #slabs: SlabPool;
  readonly #ended: Ended;
  readonly #before: Lane | undefined;
  readonly #width: number;
  readonly #line: Place[] = [];
  readonly #running = new Set<Promise<void>>();
  #resume: TransformCallback | undefined;
  #finish: TransformCallback | undefined;

  /** `before`: the lane that batches come from. */
  constructor(stage: StageRun, slabs: SlabPool, ended: Ended, before: Lane | undefined) {
    const width = stage.use.threads * TASKS_PER_THREAD;
    super({ objectMode: true, writableHighWaterMark: 1, readableHighWaterMark: width });
    this.#stage = stage;
    this.#slabs = slabs;
    this.#ended = ended;
    this.#before = before;
    this.#width = width;
  }

  /** Batches in this lane, or before it. */
  get #held(): number {
    const before = this.#before;
    return (
      this.#line.length + this.readableLength + this.writableLength + (before ? before.#held : 0)
    );
  }

  /** Tells the stage what its idle threads wait for. */
  #turn(): void {
    const full = this.readableLength >= this.readableHighWaterMark;
    // Where all slabs are further down the line, nothing can come before one of them is free.
    const starved = this.#slabs.idle === 0 && (this.#before ? this.#before.#held === 0 : true);
    this.#stage.turn(full || starved);
  }

  override _read(size: number): void {
    super._read(size);
    this.#turn();
  }

  override _transform(batch: Batch, _encoding: BufferEncoding, next: TransformCallback): void {
    const place: Place = { batch, done: false };
    this.#line.push(place);
    const { use } = this.#stage;
    const ends = use.ends?.(batch) === true;
    if (ends) batch.live = 0;
    if (ends || use.wants?.(batch) === false) {
      place.done = true;
      this.#advance();
      this.#turn();
      next();
      return;
    }
    const run = this.#run(place);
    this.#running.add(run);
    this.#turn();
    void run.finally(() => this.#running.delete(run));
    if (this.#running.size < this.#width) next();
    else this.#resume = next;
  }

  async #run(place: Place): Promise<void> {
    try {
      await this.#stage.run(place.batch);
      place.done = true;
    } catch (error) {
      this.destroy(error as Error);
      return;
    }
    this.#advance();
    this.#turn();
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  /** Hands on what is done, in order; a batch with nothing left to do goes back instead. */
  #advance(): void {
    while (this.#line[0]?.done) {
      const { batch } = this.#line.shift() as Place;
      if (batch.live === 0) {
        this.#ended(batch);
        this.#slabs.release(batch);
      } else if (!this.destroyed) this.push(batch);
    }
    if (this.#line.length === 0) this.#finish?.();
  }

  override _flush(done: TransformCallback): void {
    if (this.#line.length === 0) done();
    else this.#finish = done;
  }

  /** Resolves when no thread works for this lane any more. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#running]);
  }
}

/** A step on the main thread as a stream. */
export const mainLane = (step: MainStep): Transform =>
  new Transform({
    objectMode: true,
    highWaterMark: 1,
    transform(batch: Batch, _encoding, next) {
      try {
        step.main(batch);
        next(null, batch);
      } catch (error) {
        next(error as Error);
      }
    },
  });
