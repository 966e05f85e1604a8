// The pools that a run takes its threads from. They outlive it: they may start before it, and serve the
// next one.

import { Pool } from './pool.js';
import type { StagePlace } from './stage.js';

export class Pools {
  readonly #pools = new Map<string, Pool>();
  readonly #closing: Promise<void>[] = [];

  /** The pool of a stage, with exactly so many threads; starts it unless it runs. */
  start({ name, module, threads }: StagePlace): Pool {
    const pool = this.#pools.get(name);
    if (pool && pool.module === module && pool.threads === threads && !pool.broken) return pool;
    if (pool) this.#closing.push(pool.close());
    const fresh = new Pool(module, threads);
    this.#pools.set(name, fresh);
    return fresh;
  }

  /** Ends all threads. No task may be running. */
  async close(): Promise<void> {
    for (const pool of this.#pools.values()) this.#closing.push(pool.close());
    this.#pools.clear();
    await Promise.all(this.#closing);
  }
}
