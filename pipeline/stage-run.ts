// One stage in one run. Its threads are started at once when its work is sure to be large; otherwise a
// stage that allows it begins on the main thread, and gets its threads when they begin to pay: when as much
// time was spent there as starting them takes, and the main thread is what the others wait for
// (docs/decisions/0008).

import { setImmediate } from 'node:timers/promises';
import { Fault, fault, reasonOf } from '../disk/index.js';
import type { Pool } from './pool.js';
import type { Pools, Spent } from './pools.js';
import type { Batch } from './slab.js';
import type { StageUse } from './stage.js';
import { type StageReport, StageTally } from './tally.js';
import { type Outcome, openStage, type ThreadSetup } from './thread.js';

/** What starting one thread costs: 30 to 60 ms of a processor. */
const START_MICROS = 50_000;

/** A main thread that is busy for less of the time keeps nobody waiting. */
const BUSY_SHARE = 0.75;

/** After so much work at a stretch, signals and the other stages' threads get their turn. */
const TURN_MICROS = 3_000;

export class StageRun {
  readonly use: StageUse;
  readonly #setup: ThreadSetup;
  readonly #pools: Pools;
  readonly #tally: StageTally;
  #pool: Pool | undefined;
  #here: ((batch: Batch) => Promise<Outcome>) | undefined;
  /** Work on the main thread, of this run and those that had the same pools. */
  readonly #spent: Spent;
  /** Microseconds of it since the event loop was last given its turn. */
  #sinceTurn = 0;
  /** Where the last batch was that was with any thread. */
  #lastOffset = 0;
  /** The main thread's time when the run began. */
  readonly #began = performance.eventLoopUtilization();

  constructor(use: StageUse, setup: Omit<ThreadSetup, 'module' | 'options'>, pools: Pools) {
    this.use = use;
    this.#setup = { ...setup, module: use.module, options: use.options };
    this.#pools = pools;
    this.#tally = new StageTally(use.name);
    this.#spent = pools.spent(use);
  }

  /** What the stage has done in `elapsedMs` of the run. */
  report(elapsedMs: number): StageReport {
    return this.#tally.report(this.#pool?.threads ?? 0, elapsedMs);
  }

  #failure(offset: number, error: unknown): Fault {
    const details = { stage: this.use.name, offset, reason: reasonOf(error) };
    return fault('stage-failed', details, error);
  }

  /** Throws what a thread threw between its batches. */
  check(): void {
    const broken = this.#pool?.broken;
    if (broken) throw this.#failure(this.#lastOffset, broken.error);
  }

  /** Starts the threads, if they are not started yet. */
  prepare(): Pool {
    if (!this.#pool) {
      this.#pool = this.#pools.start(this.use);
      this.#pool.join(this.#setup.run);
    }
    return this.#pool;
  }

  /** The run has ended, and no batch is with any thread. */
  end(): void {
    this.#pool?.leave(this.#setup.run);
  }

  /** True while threads would cost more than they have to do, as far as is known. */
  get #beginsHere(): boolean {
    const { beginsHere, threads } = this.use;
    if (beginsHere !== true || this.#pool !== undefined) return false;
    if (this.#pools.isRunning(this.use)) return false;
    if (this.#spent.micros < START_MICROS * threads) return true;
    return performance.eventLoopUtilization(this.#began).utilization < BUSY_SHARE;
  }

  /** Does a batch on the main thread. */
  async #runHere(batch: Batch): Promise<Outcome> {
    this.#here ??= openStage(this.#setup);
    const outcome = await this.#here(batch);
    if ('micros' in outcome) {
      this.#spent.micros += outcome.micros;
      this.#sinceTurn += outcome.micros;
    }
    if (this.#sinceTurn >= TURN_MICROS) {
      this.#sinceTurn = 0;
      await setImmediate();
    }
    return outcome;
  }

  async #runThere(batch: Batch): Promise<Outcome> {
    try {
      return await this.prepare().run(this.#setup, batch.slab);
    } catch (error) {
      throw this.#failure(batch.offset, error);
    }
  }

  /** Runs the stage on one batch. */
  async run(batch: Batch): Promise<void> {
    this.check();
    this.#tally.begin();
    this.#lastOffset = batch.offset;
    const outcome = await (this.#beginsHere ? this.#runHere(batch) : this.#runThere(batch));
    if ('fault' in outcome) throw new Fault(outcome.fault, new Error(outcome.trace));
    this.#tally.end(outcome.micros, batch.length);
  }
}
