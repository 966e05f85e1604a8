// An image on its way into the stages: batches of the ranges to be read, and runs that hold them against digests.

import type { Extent } from '../disk/index.js';
import type { Batch, Run, SlabPool, Step } from '../pipeline/index.js';
import type { DigestReader, Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import type { Image } from './image.js';
import { cutFor, cutLayout, isLarge, planCrews, planSlabs } from './plan.js';
import { digestOptionsOf } from './plugged.js';
import type { RunOptions } from './run-options.js';
import { Spans } from './spans.js';

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

/** What is held against digests. */
export interface Comparing {
  readonly image: Pick<Image, 'path' | 'fd' | 'size' | 'seekable'>;
  readonly store: Store;
  readonly digests: DigestReader;
  /** The image bytes that are looked at: on cluster boundaries, in ascending order. */
  readonly extents: readonly Extent[];
  /** The users' stages of a take, of which those come in that change content. */
  readonly line?: stages.LineUp;
}

type Crews = ReturnType<typeof planCrews>;

/** A run that reads an image and drops what is as its digests say, up to its sink. */
export type ComparingPlan = Pick<Run, 'slabs' | 'source' | 'steps' | 'totalBytes'>;

/** Plans one; `further` makes the steps that follow, which may need the slabs' room for payloads. */
export const planComparing = (
  { image, store, digests, extents, line }: Comparing,
  { threads, memory }: RunOptions,
  further?: (crew: Crews) => readonly Step[],
): ComparingPlan => {
  const { path, fd, size, seekable } = image;
  const { clusterSize } = store.geometry;
  const made = digestOptionsOf(store);
  // A user's stage may look at all that a batch stands for.
  const changes = line?.changes ?? false;
  const spans = seekable && !changes ? new Spans(extents, [], true) : undefined;
  const bytes = bytesIn(extents);
  const way = { spans: spans !== undefined, light: true, bytes };
  const cut = cutFor(clusterSize, size, memory, way);
  const most = Math.ceil(bytes / cut.room) + extents.length;
  const batches = spans ? Math.min(Math.ceil(size / cut.reach), most) : most;
  const large = isLarge(bytes, 'reading');
  const crew = planCrews(threads, batches, large);
  // One for little, as in the take that may follow: it goes on with this one.
  const readers = large ? Number.POSITIVE_INFINITY : 1;
  const reading = { path, fd, size, seekable, digests: changes ? undefined : made };
  const steps = [
    stages.scan({ ...reading, dependent: !changes }, crew('scan', readers, true)),
    ...(line?.filters(made, (name, few) => crew(name, few, false).threads) ?? []),
    stages.dedup(made, crew('dedup', 1, false), spans?.drops),
    ...(further?.((stage, usual) => crew(stage, usual, false)) ?? []),
  ];
  // A descriptor may ask for two clusters, and no batch may end early here.
  const layout = cutLayout(clusterSize, cut, further ? 2 * cut.room : 0);
  const slabs = planSlabs(layout, steps, batches, memory);
  return {
    slabs,
    source: () => spans?.source(slabs, digests) ?? imageBatches(extents, slabs, digests),
    steps,
    totalBytes: bytes,
  };
};
