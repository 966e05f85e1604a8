// A stage that counts the batches it has met and those that nobody keeps any more: by the garbage collector
// itself, which it can be told to run.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Batch, stage } from '../../../pipeline/index.js';

export interface KeeperOptions {
  /** Int32 counters: batches met, batches gone. */
  readonly counts: SharedArrayBuffer;
  /** Collects garbage with each batch. */
  readonly collects: boolean;
}

const open = ({ counts, collects }: KeeperOptions) => {
  const count = new Int32Array(counts);
  const met = new WeakSet<Batch>();
  const registry = new FinalizationRegistry<Int32Array>((own) => Atomics.add(own, 1, 1));
  // The registry must outlive what it watches.
  Object.assign(globalThis, { [`registry ${performance.now()}`]: registry });
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  return {
    batch(batch: Batch): void {
      if (!met.has(batch)) {
        met.add(batch);
        Atomics.add(count, 0, 1);
        registry.register(batch, count);
      }
      if (collects) collect();
    },
  };
};

export default stage<KeeperOptions>({ name: 'keeper', open });
