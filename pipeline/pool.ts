// One Piscina pool per stage. It starts with its first task, or early when work is sure to come.

import type { Piscina } from 'piscina';
import { Fault, fault, reasonOf } from '../disk/index.js';
import type { Batch, SlabPool } from './slab.js';
import type { StageUse } from './stage.js';
import type { Outcome, WorkerSetup } from './worker.js';

/** Tasks posted to a thread ahead of the one it works on, so that it need not wait for the next. */
export const TASKS_PER_THREAD = 2;

const WORKER = new URL('./worker.js', import.meta.url).href;

export class StagePool {
  readonly use: StageUse;
  readonly #slabs: SlabPool;
  readonly #control: SharedArrayBuffer;
  readonly threads: number;
  #piscina: Promise<Piscina> | undefined;
  /** What a thread threw while no batch was with it, and the last batch that was with any. */
  #broken: { readonly error: unknown } | undefined;
  #lastOffset = 0;

  /** `control` is one Int32 that threads read as "cancelled". */
  constructor(use: StageUse, slabs: SlabPool, control: SharedArrayBuffer) {
    this.use = use;
    this.#slabs = slabs;
    this.#control = control;
    this.threads = use.threads;
  }

  /** min = max: a pool that grows and shrinks kills and respawns threads all the time. */
  async #start(): Promise<Piscina> {
    // Loaded here, so that the threads, which share this room's door, need not load it.
    const { Piscina } = await import('piscina');
    const setup: WorkerSetup = {
      layout: this.#slabs.layout,
      memory: this.#slabs.memory,
      control: this.#control,
      module: this.use.module,
      options: this.use.options,
    };
    const piscina = new Piscina({
      filename: WORKER,
      minThreads: this.threads,
      maxThreads: this.threads,
      concurrentTasksPerWorker: TASKS_PER_THREAD,
      // 'sync' never turns a worker's event loop, so native finalizers never run and memory grows.
      atomics: 'async',
      recordTiming: false,
      workerData: setup,
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

  /** Runs the stage on one batch; resolves to the microseconds it took. */
  async run(batch: Batch): Promise<number> {
    this.check();
    this.#lastOffset = batch.offset;
    let outcome: Outcome;
    try {
      const piscina = await this.prepare();
      outcome = (await piscina.run(batch.slab)) as Outcome;
    } catch (error) {
      throw this.#failure(batch.offset, error);
    }
    if (typeof outcome === 'number') return outcome;
    throw new Fault(outcome.fault, new Error(outcome.trace));
  }

  /** Ends the threads. No task may be running. */
  async close(): Promise<void> {
    await (await this.#piscina)?.destroy();
  }
}
