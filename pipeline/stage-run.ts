// One stage in one run. Its threads are started at once when its work is sure to be large; otherwise a
// stage that allows it begins on the main thread, and gets its threads when they begin to pay: when as much
// time was spent there as starting them takes, as much is to be expected, and the main thread is what the others
// wait for (docs/decisions/0008).

import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { Fault, fault, reasonOf } from '../disk/index.js';
import type { RunEmitter } from './events.js';
import { Patience, USUAL_PATIENCE } from './patience.js';
import type { Pool } from './pool.js';
import type { Pools, Spent } from './pools.js';
import type { Batch } from './slab.js';
import type { StageUse } from './step.js';
import { type StageReport, StageTally } from './tally.js';
import {
  type Ending,
  type OpenStage,
  type Outcome,
  openStage,
  type ThreadSetup,
} from './thread.js';

/** What starting one thread costs: 30 to 60 ms of a processor. */
const START_MICROS = 50_000;

/** A main thread that is busy for less of the time keeps nobody waiting. */
const BUSY_SHARE = 0.75;

/** Where this process has so much of all processors, a further thread would only take it from the others. */
const FULL_SHARE = 0.85;

/** After so much work at a stretch, signals and the other stages' threads get their turn. */
const TURN_MICROS = 3_000;

/** The run that a stage is in, as it sees it. */
export interface RunSetup extends Omit<ThreadSetup, 'name' | 'module' | 'options'> {
  /** What is left to do, in multiples of what was done, for a stage that has done so many image bytes. */
  left(stageBytes: number): number;
}

export class StageRun {
  readonly use: StageUse;
  readonly #setup: ThreadSetup;
  readonly #pools: Pools;
  readonly #tally: StageTally;
  readonly #events: RunEmitter | undefined;
  #pool: Pool | undefined;
  #here: OpenStage | undefined;
  readonly #patience: Patience | undefined;
  /** What the threads had to say at the end. */
  #parts: readonly unknown[] = [];
  /** Work on the main thread, of this run and those that had the same pools. */
  readonly #spent: Spent;
  /** What it was when this run began. */
  readonly #spentBefore: number;
  readonly #left: RunSetup['left'];
  /** Microseconds of it since the event loop was last given its turn. */
  #sinceTurn = 0;
  /** Where the last batch was that was with any thread. */
  #lastOffset = 0;
  /** Image offsets of the batches that are with the threads. */
  readonly #out = new Set<number>();
  /** The main thread's time and the processors' when the run began. */
  readonly #began = {
    loop: performance.eventLoopUtilization(),
    processor: process.cpuUsage(),
    ms: performance.now(),
  };

  constructor(use: StageUse, { left, ...setup }: RunSetup, pools: Pools, events?: RunEmitter) {
    this.use = use;
    this.#setup = { ...setup, name: use.name, module: use.module, options: use.options };
    this.#pools = pools;
    this.#events = events;
    this.#tally = new StageTally(use.name);
    this.#left = left;
    this.#spent = pools.spent(use);
    this.#spentBefore = this.#spent.micros;
    const { patience } = use;
    if (patience !== undefined)
      this.#patience = new Patience(patience, (waited) => this.#stuck(patience, waited));
  }

  /** What the stage has done in `elapsedMs` of the run. */
  report(elapsedMs: number): StageReport {
    const report = this.#tally.report(this.#pool?.threads ?? 0, elapsedMs);
    return this.#parts.length > 0 ? { ...report, parts: this.#parts } : report;
  }

  /** Its name for people. */
  get #title(): string {
    return this.use.title ?? this.use.name;
  }

  /** Notes that batches came or went; `blocked`: there is no room for more. */
  turn(blocked: boolean): void {
    this.#tally.turn(Math.max(1, this.#pool?.threads ?? 0), blocked);
  }

  #failure(offset: number, error: unknown): Fault {
    const details = { stage: this.#title, offset, reason: reasonOf(error) };
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

  /** The run has ended, and no batch is with any thread; `sound`: well. Rejects when the stage's end fails. */
  async end(sound: boolean): Promise<void> {
    const seconds = this.use.patience ?? USUAL_PATIENCE;
    const here = this.#here ? [await this.#here.end(sound)] : [];
    let endings: readonly Ending[];
    try {
      endings = (await this.#pool?.leave(this.#setup.run, sound, seconds)) ?? [];
    } catch (error) {
      throw this.#failure(this.#lastOffset, error);
    }
    const parts: unknown[] = [];
    for (const ending of [...here, ...endings]) {
      if ('fault' in ending) throw new Fault(ending.fault, new Error(ending.trace));
      if (ending.part !== undefined) parts.push(ending.part);
    }
    this.#parts = parts;
    // A thread may have ended before it could be asked.
    if (sound) this.check();
  }

  /** The threads do not answer any more; undefined while they are still starting. */
  #stuck(seconds: number, waited: number): Fault | undefined {
    if (this.#pool?.hasBegun === false && waited < USUAL_PATIENCE) return undefined;
    const stuck = fault('stage-stuck', {
      stage: this.#title,
      offset: Math.min(...this.#out),
      seconds,
    });
    this.#pool?.giveUp(stuck);
    return stuck;
  }

  /** True while threads would cost more than they have to do, as far as is known. */
  get #beginsHere(): boolean {
    const { beginsHere, threads } = this.use;
    if (beginsHere !== true || this.#pool !== undefined) return false;
    if (this.#pools.isRunning(this.use)) return false;
    const price = START_MICROS * threads;
    const { micros } = this.#spent;
    if (micros < price) return true;
    // Where this run has little left, further ones may come: as many as there were.
    const rest = (micros - this.#spentBefore) * this.#left(this.#tally.bytes);
    if (Math.max(rest, this.#spentBefore) < price) return true;
    const { utilization } = performance.eventLoopUtilization(this.#began.loop);
    return utilization < BUSY_SHARE || this.#isMachineFull;
  }

  /**
   * True when the threads there are keep the processors busy. The event loop's own time does not tell: it runs on while
   * another thread has the processor.
   */
  get #isMachineFull(): boolean {
    const { user, system } = process.cpuUsage(this.#began.processor);
    const micros = (performance.now() - this.#began.ms) * 1000 * availableParallelism();
    return user + system > FULL_SHARE * micros;
  }

  /** Does a batch on the main thread. */
  async #runHere(batch: Batch): Promise<Outcome> {
    this.#here ??= openStage(this.#setup);
    const outcome = await this.#here.perform(batch);
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
    const { offset } = batch;
    this.#out.add(offset);
    try {
      const work = this.prepare().run(this.#setup, batch.slab);
      return await (this.#patience?.wait(work) ?? work);
    } catch (error) {
      throw error instanceof Fault ? error : this.#failure(offset, error);
    } finally {
      this.#out.delete(offset);
    }
  }

  /** Runs the stage on one batch. */
  async run(batch: Batch): Promise<void> {
    this.check();
    this.#tally.begin();
    this.#lastOffset = batch.offset;
    const outcome = await (this.#beginsHere ? this.#runHere(batch) : this.#runThere(batch));
    if ('fault' in outcome) throw new Fault(outcome.fault, new Error(outcome.trace));
    this.#tally.end(outcome.micros, batch.bytes);
    this.#events?.emit('batch', {
      stage: this.use.name,
      offset: batch.offset,
      bytes: batch.length,
      endedMs: performance.now(),
      workMs: outcome.micros / 1000,
    });
  }
}
