// The pools that runs take their threads from. They outlive a run: they may start before it, and serve the
// next one, or several at once.

import { MiB } from '../disk/index.js';
import { Pool } from './pool.js';
import type { StagePlace } from './step.js';
import { SlabStock } from './stock.js';

interface Assigned {
  readonly module: string;
  readonly pool: Pool;
}

/** Left to the collector, the slabs of a thousand runs were ten times as much (it does not see shared memory). */
const KEPT_BYTES = 192 * MiB;

export interface PoolsOptions {
  /** So many threads start at once, for the first stage that wants exactly so many. */
  readonly spare?: number;
  /**
   * Every stage gets so many threads, whatever a run asks for: for several runs at once. Left out: as many as
   * the run asks for that comes when no other uses them.
   */
  readonly threads?: number | undefined;
  /** Bytes of slabs that go from one run to the next; left out: what a run has by default. */
  readonly memory?: number | undefined;
}

/** Microseconds that a stage has worked on the main thread, in all runs. */
export interface Spent {
  micros: number;
}

export class Pools {
  /** By the stage's name. */
  readonly #pools = new Map<string, Assigned>();
  readonly #spent = new Map<string, Spent>();
  readonly #threads: number | undefined;
  /** Where runs may get the memory of their slabs. */
  readonly stock: SlabStock;
  /** Threads that no stage has yet. */
  #spare: Pool | undefined;
  readonly #closing: Promise<void>[] = [];

  constructor({ spare = 0, threads, memory = KEPT_BYTES }: PoolsOptions = {}) {
    this.stock = new SlabStock(memory);
    this.#threads = threads;
    this.#spare = spare > 0 ? new Pool(spare) : undefined;
  }

  #threadsFor({ threads, most = Number.POSITIVE_INFINITY }: StagePlace): number {
    return Math.min(this.#threads ?? threads, most);
  }

  /** The pool of a stage, if it runs and can serve another run. */
  #running(place: StagePlace): Pool | undefined {
    const { name, module, most = Number.POSITIVE_INFINITY } = place;
    const known = this.#pools.get(name);
    if (known?.module !== module || !known.pool.usable) return undefined;
    // Who comes while others are at work has to do with what they have.
    return known.pool.threads === this.#threadsFor(place) ||
      (known.pool.busy && known.pool.threads <= most)
      ? known.pool
      : undefined;
  }

  /** True when the stage's threads run already, so that they cost nothing more. */
  isRunning(place: StagePlace): boolean {
    return this.#running(place) !== undefined;
  }

  /** The pool of a stage; starts it unless it runs. */
  start(place: StagePlace): Pool {
    const running = this.#running(place);
    if (running) return running;
    const { name, module } = place;
    const threads = this.#threadsFor(place);
    const known = this.#pools.get(name);
    if (known) this.#closing.push(known.pool.retire());
    const pool = this.#takeSpare(threads) ?? new Pool(threads, module);
    this.#pools.set(name, { module, pool });
    return pool;
  }

  /** What a stage has cost on the main thread so far: threads that stay pay for many small runs together. */
  spent({ name }: StagePlace): Spent {
    const known = this.#spent.get(name) ?? { micros: 0 };
    this.#spent.set(name, known);
    return known;
  }

  #takeSpare(threads: number): Pool | undefined {
    const spare = this.#spare;
    if (spare?.threads !== threads) return undefined;
    this.#spare = undefined;
    return spare;
  }

  /** Ends all threads. No task may be running. */
  async close(): Promise<void> {
    if (this.#spare) this.#closing.push(this.#spare.close());
    this.#spare = undefined;
    for (const { pool } of this.#pools.values()) this.#closing.push(pool.close());
    this.#pools.clear();
    await Promise.all(this.#closing);
  }
}
