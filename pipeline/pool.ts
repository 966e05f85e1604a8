// One Piscina pool per stage. It starts with its first task, all its threads at once: a pool that
// grows and shrinks kills and respawns threads all the time.

import { Piscina } from 'piscina';
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
  #piscina: Piscina | undefined;

  /** `control` is one Int32 that threads read as "cancelled". */
  constructor(use: StageUse, slabs: SlabPool, control: SharedArrayBuffer) {
    this.use = use;
    this.#slabs = slabs;
    this.#control = control;
    this.threads = use.threads;
  }

  #start(): Piscina {
    const setup: WorkerSetup = {
      layout: this.#slabs.layout,
      memory: this.#slabs.memory,
      control: this.#control,
      module: this.use.module,
      options: this.use.options,
    };
    return new Piscina({
      filename: WORKER,
      minThreads: this.threads,
      maxThreads: this.threads,
      concurrentTasksPerWorker: TASKS_PER_THREAD,
      // 'sync' never turns a worker's event loop, so native finalizers never run and memory grows.
      atomics: 'async',
      recordTiming: false,
      workerData: setup,
    });
  }

  /** Runs the stage on one batch; resolves to the microseconds it took. */
  async run(batch: Batch): Promise<number> {
    this.#piscina ??= this.#start();
    let outcome: Outcome;
    try {
      outcome = (await this.#piscina.run(batch.slab)) as Outcome;
    } catch (error) {
      throw fault(
        'stage-failed',
        { stage: this.use.name, offset: batch.offset, reason: reasonOf(error) },
        error,
      );
    }
    if (typeof outcome === 'number') return outcome;
    throw new Fault(outcome.fault, new Error(outcome.trace));
  }

  /** Ends the threads. No task may be running. */
  async close(): Promise<void> {
    await this.#piscina?.destroy();
  }
}
