// One Piscina pool per stage. It starts at once when its work is sure to come; otherwise a stage that
// allows it begins on the main thread, and gets its threads when they begin to pay: when as much time was
// spent there as starting them takes. So never more than twice the best is spent, and a small job, or a
// large one with few changes, does without most of the threads.

import { setImmediate } from 'node:timers/promises';
import type { Piscina } from 'piscina';
import { Fault, fault, reasonOf } from '../disk/index.js';
import type { Batch, SlabPool } from './slab.js';
import type { StageUse } from './stage.js';
import { type StageReport, StageTally } from './tally.js';
import { type Outcome, openThread, type ThreadSetup } from './thread.js';

/** Tasks posted to a thread ahead of the one it works on, so that it need not wait for the next. */
export const TASKS_PER_THREAD = 2;

/** What starting a thread costs: 30 to 60 ms of a processor. */
const START_MICROS = 40_000;

const WORKER = new URL('./worker.js', import.meta.url).href;

export class StagePool {
  readonly use: StageUse;
  readonly #setup: ThreadSetup;
  readonly #tally: StageTally;
  #piscina: Promise<Piscina> | undefined;
  #here: ((batch: Batch) => Promise<Outcome>) | undefined;
  /** Microseconds of work on the main thread. */
  #micros = 0;
  /** What a thread threw while no batch was with it, and the last batch that was with any. */
  #broken: { readonly error: unknown } | undefined;
  #lastOffset = 0;

  /** `control` is one Int32 that threads read as "cancelled". */
  constructor(use: StageUse, slabs: SlabPool, control: SharedArrayBuffer) {
    this.use = use;
    const { module, options } = use;
    this.#setup = { layout: slabs.layout, memory: slabs.memory, control, module, options };
    this.#tally = new StageTally(use.name);
  }

  /** Threads once they are started. */
  get threads(): number {
    return this.use.threads;
  }

  /** What the stage has done in `elapsedMs` of the run. */
  report(elapsedMs: number): StageReport {
    return this.#tally.report(this.#piscina ? this.threads : 0, elapsedMs);
  }

  /** min = max: a pool that grows and shrinks kills and respawns threads all the time. */
  async #start(): Promise<Piscina> {
    // Loaded here, so that the threads, which share this room's door, need not load it.
    const { Piscina } = await import('piscina');
    const piscina = new Piscina({
      filename: WORKER,
      minThreads: this.threads,
      maxThreads: this.threads,
      concurrentTasksPerWorker: TASKS_PER_THREAD,
      // 'sync' never turns a worker's event loop, so native finalizers never run and memory grows.
      atomics: 'async',
      recordTiming: false,
      workerData: this.#setup,
    });
    // A stage may throw from a timer, between two batches: unheard, that would end the process.
    piscina.on('error', (error: unknown) => {
      this.#broken ??= { error };
    });
    return piscina;
  }

  #failure(offset: number, error: unknown): Fault {
    const details = { stage: this.use.name, offset, reason: reasonOf(error) };
    return fault('stage-failed', details, error);
  }

  /** Throws what a thread threw between its batches. */
  check(): void {
    if (this.#broken) throw this.#failure(this.#lastOffset, this.#broken.error);
  }

  /** Starts the threads, if they are not started yet. */
  prepare(): Promise<Piscina> {
    this.#piscina ??= this.#start();
    return this.#piscina;
  }

  /** Does a batch on the main thread. */
  async #runHere(batch: Batch): Promise<Outcome> {
    this.#here ??= openThread(this.#setup);
    const outcome = await this.#here(batch);
    // Signals and the other stages' threads get their turn between two batches.
    await setImmediate();
    if (typeof outcome === 'number') this.#micros += outcome;
    return outcome;
  }

  async #runThere(batch: Batch): Promise<Outcome> {
    try {
      const piscina = await this.prepare();
      return (await piscina.run(batch.slab)) as Outcome;
    } catch (error) {
      throw this.#failure(batch.offset, error);
    }
  }

  /** Runs the stage on one batch. */
  async run(batch: Batch): Promise<void> {
    this.check();
    this.#tally.begin();
    this.#lastOffset = batch.offset;
    const here = this.use.beginsHere && !this.#piscina && this.#micros < START_MICROS;
    const outcome = await (here ? this.#runHere(batch) : this.#runThere(batch));
    if (typeof outcome === 'number') this.#tally.end(outcome, batch.length);
    else throw new Fault(outcome.fault, new Error(outcome.trace));
  }

  /** Ends the threads. No task may be running. */
  async close(): Promise<void> {
    await (await this.#piscina)?.destroy();
  }
}
