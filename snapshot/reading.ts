// An image on its way into the stages: batches of the ranges to be read, and the stages that hold them against
// digests.

import type { Extent } from '../disk/index.js';
import type { Batch, SlabPool, Step } from '../pipeline/index.js';
import type { DigestReader, StoreFacts } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import type { Image } from './image.js';
import type { planCrews } from './plan.js';
import { digestOptionsOf } from './store.js';

/** Bytes in all of some ranges. */
export const bytesIn = (extents: readonly Extent[]): number =>
  extents.reduce((sum, { start, end }) => sum + end - start, 0);

/** Leased batches of ranges on cluster boundaries, beside what is known of their clusters. */
export async function* imageBatches(
  extents: readonly Extent[],
  slabs: SlabPool,
  known: DigestReader | undefined,
): AsyncGenerator<Batch> {
  const { clusterSize, clusters } = slabs.layout;
  const step = clusters * clusterSize;
  for (const { start, end } of extents) {
    for (let at = start; at < end; at += step) {
      const batch = await slabs.lease();
      batch.begin(at, Math.min(step, end - at));
      if (known) known.read(at / clusterSize, batch.count, batch.known);
      else batch.known.fill(0);
      yield batch;
    }
  }
}

/** The stages that read a file and drop what is as its digests say. */
export const comparingSteps = (
  { path, fd, size, seekable }: Pick<Image, 'path' | 'fd' | 'size' | 'seekable'>,
  facts: StoreFacts,
  crew: ReturnType<typeof planCrews>,
): Step[] => {
  const digests = digestOptionsOf(facts);
  const reading = { path, fd, size, seekable, digests, dependent: true };
  return [
    stages.scan(reading, crew('scan', Number.POSITIVE_INFINITY, true)),
    stages.dedup(digests, crew('dedup', 1, false)),
  ];
};
