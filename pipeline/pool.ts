// The threads of one stage: a Piscina pool. It may start before it is known what exactly it will do, while
// the store is being opened; what a run asks of it comes with the run's first tasks. It serves several runs at
// once: each has a few tasks in its queue at most, so none waits for another's end.

import { createRequire } from 'node:module';
import { BroadcastChannel } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import type { Ended, Ending, EndOfRun, Outcome, PoolSetup, Task, ThreadSetup } from './thread.js';

/** Tasks posted to a thread ahead of the one it works on, so that it need not wait for the next. */
export const TASKS_PER_THREAD = 2;

/** Loaded with the first pool, at once: a promise would wait until the caller has nothing else to do. */
const load = createRequire(import.meta.url);

const WORKER = new URL('./worker.cjs', import.meta.url).href;

/** Tells the channels of pools apart, also those of another copy of this module. */
let channels = 0;
const channelName = (): string => {
  channels += 1;
  return `nvsnap pool ${channels} ${Math.random()}`;
};

/** What the threads know of a run. */
interface Told {
  /** Threads that have not been told yet what it wants. */
  untold: number;
  /** Threads that have something to do at its end. */
  enders: number;
}

export class Pool {
  readonly threads: number;
  readonly #piscina: Piscina;
  /** The runs that use it. */
  readonly #runs = new Map<number, Told>();
  /**
   * All threads hear of a run's end here: which of them gets a task is not ours to say. Made with the first end that
   * the pool outlives, since it takes a millisecond or two.
   */
  #ends: BroadcastChannel | undefined;
  readonly #endsName = channelName();
  readonly #begun = new Int32Array(new SharedArrayBuffer(4));
  /** Who waits for the ends of a run, by its number. */
  readonly #listeners = new Map<number, (ending: Ending) => void>();
  /** Who is to hear that they will never come. */
  readonly #waiting = new Map<number, (error: unknown) => void>();
  #closed = false;
  /** False once a thread has ended. */
  #whole = true;
  #broken: { readonly error: unknown } | undefined;
  /** Set when the pool is to end with its last run. */
  #retired: { readonly closed: Promise<void>; end(): void } | undefined;

  /** Starts the threads. A stage whose module's URL is known already is loaded meanwhile. */
  constructor(threads: number, module?: string) {
    this.threads = threads;
    const { Piscina } = load('piscina') as typeof import('piscina');
    const begun = this.#begun.buffer;
    const setup: PoolSetup = { module, ends: this.#endsName, begun };
    this.#piscina = new Piscina({
      filename: WORKER,
      // A pool that grows and shrinks kills and respawns threads all the time.
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: TASKS_PER_THREAD,
      // 'sync' never turns a worker's event loop, so native finalizers never run and memory grows.
      atomics: 'async',
      recordTiming: false,
      workerData: setup,
    });
    // A stage may throw from a timer, between two batches: unheard, that would end the process.
    this.#piscina.on('error', (error: unknown) => this.giveUp(error));
    // One that exits does so in silence, unless it has a batch. What it has thrown comes right after this.
    this.#piscina.on('workerDestroy', () => {
      if (this.#closed) return;
      this.#whole = false;
      setImmediate(() => this.giveUp(new Error('its thread has exited')));
    });
  }

  /** Why a thread has ended while no batch was with it. */
  get broken(): { readonly error: unknown } | undefined {
    return this.#broken;
  }

  /** True once a thread has begun a task: on a busy machine it may take long until then. */
  get hasBegun(): boolean {
    return Atomics.load(this.#begun, 0) !== 0;
  }

  /** True while all of its threads can be used. */
  get usable(): boolean {
    return this.#whole && this.#broken === undefined;
  }

  /** True while a run uses it. */
  get busy(): boolean {
    return this.#runs.size > 0;
  }

  /** Begins to serve a run; `leave` ends it. */
  join(run: number): void {
    this.#runs.set(run, { untold: this.threads, enders: 0 });
  }

  /**
   * No task of the run is under way any more: its threads let go of its slabs. `sound`: it ended well. Resolves to what
   * those threads say that have something to do at the end; rejects when one does not within `patience` seconds.
   */
  async leave(run: number, sound: boolean, patience: number): Promise<readonly Ending[]> {
    const enders = this.#runs.get(run)?.enders ?? 0;
    try {
      if (enders > 0 && !this.#broken) return await this.#ask(run, sound, enders, patience);
      // Most pools are closed right after their only run.
      setImmediate(() => this.#tellEnd({ run, sound, asked: false }));
      return [];
    } finally {
      this.#runs.delete(run);
      if (!this.busy) this.#retired?.end();
    }
  }

  #tellEnd(end: EndOfRun): void {
    if (this.#closed) return;
    if (!this.#ends) {
      this.#ends = new BroadcastChannel(this.#endsName);
      this.#ends.unref();
      this.#ends.onmessage = (message: unknown) => {
        const { data } = message as { data: Ended | EndOfRun };
        if ('endedRun' in data) this.#listeners.get(data.endedRun)?.(data.ending);
      };
    }
    this.#ends.postMessage(end);
  }

  /** Tells all threads that the run has ended, and waits for the answers of `enders` of them. */
  async #ask(
    run: number,
    sound: boolean,
    enders: number,
    patience: number,
  ): Promise<readonly Ending[]> {
    const endings: Ending[] = [];
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        timer = setTimeout(() => {
          this.giveUp(new Error(`it did not come to an end within ${patience} seconds`));
        }, patience * 1000);
        this.#waiting.set(run, reject);
        this.#listeners.set(run, (ending) => {
          endings.push(ending);
          if (endings.length === enders) resolve();
        });
        this.#tellEnd({ run, sound, asked: true });
      });
      return endings;
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(run);
      this.#waiting.delete(run);
    }
  }

  /** Runs the stage on the batch in a slab, as `setup` says. Rejects when a thread ends. */
  async run(setup: ThreadSetup, slab: number): Promise<Outcome> {
    const { run } = setup;
    const told = this.#runs.get(run);
    // Which thread takes a task is Piscina's choice, so all are told until each has answered once.
    const task: Task = told && told.untold > 0 ? { slab, run, setup } : { slab, run };
    const outcome = (await this.#piscina.run(task)) as Outcome;
    if (told && outcome.opened) {
      told.untold -= 1;
      if (outcome.ends) told.enders += 1;
    }
    return outcome;
  }

  /** Gives up on threads that have ended or do not answer: nobody is to use the pool again, or to wait for it. */
  giveUp(error: unknown): void {
    this.#broken ??= { error };
    for (const reject of this.#waiting.values()) reject(this.#broken.error);
  }

  /** Ends the threads once no run uses them; resolves when they have ended. */
  retire(): Promise<void> {
    if (!this.#retired) {
      let end = (): void => {};
      const closed = new Promise<void>((resolve) => {
        end = () => resolve(this.close());
      });
      this.#retired = { closed, end };
      if (!this.busy) end();
    }
    return this.#retired.closed;
  }

  /** Ends the threads. No task may be running. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#ends?.close();
    await this.#piscina.destroy();
  }
}
