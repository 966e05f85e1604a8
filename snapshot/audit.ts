// A dirty source's word is not taken: some of the clusters that it calls clean are read all the same, and held
// against the parent's digests. One that differs is enough not to believe it.
//
//     image ─▶ scan ─▶ dedup ─▶ (count)

import {
  alignExtents,
  type Extent,
  intersectExtents,
  subtractExtents,
  unionExtents,
} from '../disk/index.js';
import { run } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';
import type { Image } from './image.js';
import { planComparing } from './reading.js';
import { type RunOptions, withPools } from './run-options.js';
import { sampleBelow } from './sample.js';
import type { WritableStore } from './store.js';

/** Fewer clusters say little: of the few there are, all are read. */
const MIN_CLUSTERS = 64;

/** What is to be audited, and how. */
export interface AuditWork {
  readonly image: Image;
  readonly target: WritableStore;
  readonly clusterSize: number;
  /** The parent's. */
  readonly digests: DigestReader;
  /** What the source says has not changed: sorted, on cluster boundaries. */
  readonly clean: readonly Extent[];
  readonly percent: number;
  readonly seed: number;
}

/** What an audit found. */
export interface Audit {
  /** The numbers that the sample was drawn with: the same seed draws the same one. */
  readonly seed: number;
  /** Clusters that were read, of so many that the source calls clean and that hold data, now or in the parent. */
  readonly clusters: number;
  readonly of: number;
  /** Those of them that have changed all the same, and the image offset of the first. */
  readonly missed: number;
  readonly firstMissed: number | null;
}

/** Clean clusters that hold data in the image or in the parent: of all others nothing can be missed. */
const populationOf = ({ image, clusterSize, digests, clean }: AuditWork): readonly Extent[] => {
  const present = [...alignExtents(image.data(clean), clusterSize, image.size)];
  const stored: Extent[] = [];
  // Where the image has data the parent need not be asked: usually that is nearly everywhere.
  for (const { start, end } of subtractExtents(clean, present)) {
    const runs = digests.dataRuns(start / clusterSize, Math.ceil(end / clusterSize));
    for (const [from, to] of runs)
      stored.push({ start: from * clusterSize, end: to * clusterSize });
  }
  return [...intersectExtents([...unionExtents(present, stored)], clean)];
};

/** The clusters of a population that a sample names by their numbers, as extents. */
function* pick(
  population: readonly Extent[],
  sample: Iterable<number>,
  clusterSize: number,
): Generator<Extent> {
  let i = 0;
  let first = 0;
  for (const number of sample) {
    for (;;) {
      const { start, end } = population[i] as Extent;
      const count = Math.ceil((end - start) / clusterSize);
      if (number < first + count) {
        const at = start + (number - first) * clusterSize;
        yield { start: at, end: Math.min(end, at + clusterSize) };
        break;
      }
      first += count;
      i += 1;
    }
  }
}

/** Reads the sample and counts what differs from the parent. */
export const audit = async (work: AuditWork, options: RunOptions): Promise<Audit> => {
  const { image, target, clusterSize, digests, seed, percent } = work;
  const population = populationOf(work);
  const of = population.reduce(
    (sum, { start, end }) => sum + Math.ceil((end - start) / clusterSize),
    0,
  );
  const clusters = Math.min(of, Math.max(MIN_CLUSTERS, Math.ceil((of * percent) / 100)));
  const extents = [...pick(population, sampleBelow(of, clusters, seed), clusterSize)];
  const comparing = { image, store: target.store, digests, extents, line: target.line };
  const plan = planComparing(comparing, options);
  let missed = 0;
  let firstMissed: number | null = null;
  await withPools(options, (pools) =>
    run({
      verb: 'audit',
      ...plan,
      pools,
      sink: (batch) => {
        missed += batch.live;
        firstMissed ??= batch.offset + batch.nextLive(0) * clusterSize;
      },
      events: options.events,
      signal: options.signal,
    }),
  );
  return { seed, clusters, of, missed, firstMissed };
};
