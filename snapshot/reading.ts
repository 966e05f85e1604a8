// An image on its way into the stages: batches of the ranges to be read.

import type { Extent } from '../disk/index.js';
import type { Batch, SlabPool } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';

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
