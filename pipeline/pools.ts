// The pools that runs take their threads from. They outlive a run: they may start before it, and serve the
// next one.

import { Pool } from './pool.js';
import type { StagePlace } from './stage.js';

interface Assigned {
  readonly module: string;
  readonly pool: Pool;
}

export class Pools {
  /** By the stage's name. */
  readonly #pools = new Map<string, Assigned>();
  /** Threads that no stage has yet. */
  #spare: Pool | undefined;
  readonly #closing: Promise<void>[] = [];

  /** Starts `spare` threads at once, for the first stage that wants exactly so many. */
  constructor(spare = 0) {
    this.#spare = spare > 0 ? new Pool(spare) : undefined;
  }

  /** The pool of a stage, with exactly so many threads; starts it unless it runs. */
  start({ name, module, threads }: StagePlace): Pool {
    const known = this.#pools.get(name);
    if (known?.module === module && known.pool.threads === threads && !known.pool.broken) {
      return known.pool;
    }
    if (known) this.#closing.push(known.pool.close());
    const pool = this.#takeSpare(threads) ?? new Pool(threads, module);
    this.#pools.set(name, { module, pool });
    return pool;
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
