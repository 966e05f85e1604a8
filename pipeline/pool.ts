// The threads of one stage: a Piscina pool. It may start before it is known what exactly it will do, while
// the store is being opened; what a run asks of it comes with the run's first tasks.

import { createRequire } from 'node:module';
import type { Piscina } from 'piscina';
import type { Outcome, Task, ThreadSetup } from './thread.js';

/** Tasks posted to a thread ahead of the one it works on, so that it need not wait for the next. */
export const TASKS_PER_THREAD = 2;

/** Loaded with the first pool, at once: a promise would wait until the caller has nothing else to do. */
const load = createRequire(import.meta.url);

const WORKER = new URL('./worker.js', import.meta.url).href;

export class Pool {
  readonly threads: number;
  readonly #piscina: Piscina;
  /** What the threads are to do now, and how many of them have not been told yet. */
  #setup: ThreadSetup | undefined;
  #untold = 0;
  #broken: { readonly error: unknown } | undefined;

  /** Starts the threads. A stage whose module's URL is known already is loaded meanwhile. */
  constructor(threads: number, module?: string) {
    this.threads = threads;
    const { Piscina } = load('piscina') as typeof import('piscina');
    this.#piscina = new Piscina({
      filename: WORKER,
      // A pool that grows and shrinks kills and respawns threads all the time.
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: TASKS_PER_THREAD,
      // 'sync' never turns a worker's event loop, so native finalizers never run and memory grows.
      atomics: 'async',
      recordTiming: false,
      workerData: module,
    });
    // A stage may throw from a timer, between two batches: unheard, that would end the process.
    this.#piscina.on('error', (error: unknown) => {
      this.#broken ??= { error };
    });
  }

  /** What a thread threw while no batch was with it. */
  get broken(): { readonly error: unknown } | undefined {
    return this.#broken;
  }

  /** Runs the stage on the batch in a slab, as `setup` says. Rejects when a thread ends. */
  async run(setup: ThreadSetup, slab: number): Promise<Outcome> {
    if (setup !== this.#setup) {
      this.#setup = setup;
      this.#untold = this.threads;
    }
    // Which thread takes a task is Piscina's choice, so all are told until each has answered once.
    const task: Task =
      this.#untold > 0 ? { slab, run: setup.run, setup } : { slab, run: setup.run };
    const outcome = (await this.#piscina.run(task)) as Outcome;
    if (outcome.opened && setup === this.#setup) this.#untold -= 1;
    return outcome;
  }

  /** Ends the threads. No task may be running. */
  async close(): Promise<void> {
    await this.#piscina.destroy();
  }
}
