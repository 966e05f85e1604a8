// An image on its way into the stages: batches of the ranges to be read, and the stages that hold them against
// digests.

import type { Extent } from '../disk/index.js';
import type { Batch, SlabPool, Step } from '../pipeline/index.js';
import type { DigestReader, Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import type { Image } from './image.js';
import type { planCrews } from './plan.js';
import { digestOptionsOf } from './plugged.js';

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

/**
 * The stages that read a file and drop what is as its digests say. `line`: the users' stages of a take, of which those
 * come in that change content.
 */
export const comparingSteps = (
  { path, fd, size, seekable }: Pick<Image, 'path' | 'fd' | 'size' | 'seekable'>,
  store: Store,
  crew: ReturnType<typeof planCrews>,
  line?: stages.LineUp,
): Step[] => {
  const digests = digestOptionsOf(store);
  const filters = line?.filters(digests, (name, most) => crew(name, most, false).threads) ?? [];
  const changes = filters.length > 0;
  const reading = { path, fd, size, seekable, digests: changes ? undefined : digests };
  return [
    stages.scan({ ...reading, dependent: !changes }, crew('scan', Number.POSITIVE_INFINITY, true)),
    ...filters,
    stages.dedup(digests, crew('dedup', 1, false)),
  ];
};
