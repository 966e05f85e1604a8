// What every verb that moves data can be told about how to do it.

import { Pools, type RunEmitter } from '../pipeline/index.js';
import type { Threads } from './plan.js';

export interface RunOptions {
  readonly threads?: Threads | undefined;
  /** Threads that stay for the next call; left out: its own, which end with it. */
  readonly pools?: Pools | undefined;
  /** Bytes for batches in flight. */
  readonly memory?: number | undefined;
  readonly events?: RunEmitter | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Hands the caller's pools to `use`, or such as end with it. */
export const withPools = async <T>(
  { pools: given }: RunOptions,
  use: (pools: Pools) => Promise<T>,
): Promise<T> => {
  const pools = given ?? new Pools();
  try {
    return await use(pools);
  } finally {
    if (pools !== given) await pools.close();
  }
};
