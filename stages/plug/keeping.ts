// Notices that a stage keeps more and more of what it was given: a take must not end for want of memory.

import { getHeapStatistics } from 'node:v8';
import { fault, formatSize, MiB } from '../../disk/index.js';

/** A stage has far less, and what is not collected yet never comes to this. */
const MOST_BYTES = 512 * MiB;

/** Throws when this thread holds more than any stage needs. `stage` and `offset` are for the fault. */
export const checkKeeping = (stage: string, offset: number): void => {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  if (heap + external <= MOST_BYTES) return;
  const what = `holds ${formatSize(heap + external)} in one thread, of at most ${formatSize(MOST_BYTES)},`;
  throw fault('stage-broke', { stage, offset, what });
};
