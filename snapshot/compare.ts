// compare: does a snapshot hold what an image holds? The image is read and held against the digests; of the
// store only these are read.
//
//     image ─▶ scan ─▶ dedup ─▶ (ranges)
//
// A snapshot that another program made has no digests: then its bytes are read and compared.

import { alignExtents, attachFile, type Extent, fault } from '../disk/index.js';
import { type Batch, run, type StageReport } from '../pipeline/index.js';
import type { DigestReader, Snapshot, Store } from '../qcow2/index.js';
import { type Image, openImage, STDIN, wholeOf } from './image.js';
import { usableSnapshot } from './names.js';
import { nonZeroPieces } from './non-zero.js';
import { checkThreadNames } from './plan.js';
import { type StageOptions, unlock } from './plugged.js';
import { pour } from './pour.js';
import { type Range, RangeBag, Ranges } from './ranges.js';
import { planComparing } from './reading.js';
import { type RunOptions, withPools } from './run-options.js';
import { digestsOf, imageSizeOf, withStore } from './store.js';

export interface CompareOptions extends RunOptions, StageOptions {
  readonly store: string;
  /** A tag, "#id", uuid prefix or "latest". */
  readonly snapshot: string;
  /** Path of a file or block device. */
  readonly image: string;
}

/** Where a snapshot and an image differ. Sizes in bytes, times in milliseconds. */
export interface CompareResult {
  readonly store: string;
  readonly tag: string;
  readonly image: string;
  readonly equal: boolean;
  /** Past its end either counts as zeros, but sizes that differ are a difference. */
  readonly snapshotBytes: number;
  readonly imageBytes: number;
  /** In whole clusters; the one in which the shorter of the two ends counts as different. */
  readonly differentBytes: number;
  /** How many ranges there are, and the first 100000 of them. */
  readonly rangeCount: number;
  readonly ranges: readonly Range[];
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
}

export const COMPARE_STAGES = ['scan', 'dedup', 'fetch', 'decode', 'deliver'] as const;

/** One comparison while it runs. */
class Comparison {
  readonly #store: Store;
  readonly #image: Image;
  readonly #digests: DigestReader;
  readonly #options: RunOptions;
  readonly ranges = new Ranges();
  /** The end of what was compared so far, in clusters. */
  #at = 0;
  /** The end of all there is on either side, in bytes. */
  readonly #bytes: number;

  constructor(
    store: Store,
    what: { image: Image; digests: DigestReader; snapshotBytes: number },
    options: RunOptions,
  ) {
    this.#store = store;
    this.#image = what.image;
    this.#digests = what.digests;
    this.#bytes = Math.max(what.image.size, what.snapshotBytes);
    this.#options = options;
  }

  #add(first: number, count: number): void {
    const { clusterSize } = this.#store.geometry;
    const start = first * clusterSize;
    this.ranges.add(start, Math.min(count * clusterSize, this.#bytes - start));
  }

  /** Of clusters up to `end` the image has only zeros: those that were not are different. */
  #zerosUpTo(end: number): void {
    for (const [from, to] of this.#digests.dataRuns(this.#at, end)) this.#add(from, to - from);
    this.#at = Math.max(this.#at, end);
  }

  async run(): Promise<readonly StageReport[]> {
    const { clusterSize } = this.#store.geometry;
    const { size } = this.#image;
    const { events, signal } = this.#options;
    const extents = [...alignExtents(this.#image.data(wholeOf(size)), clusterSize, size)];
    const comparing = {
      image: this.#image,
      store: this.#store,
      digests: this.#digests,
      extents,
    };
    const plan = planComparing(comparing, this.#options);
    // What lies between the extents is compared when the sink comes past it; unchanged batches never do.
    let next = 0;
    const passHoles = (before: number): void => {
      for (let extent = extents[next]; extent && extent.start < before; extent = extents[next]) {
        this.#zerosUpTo(extent.start / clusterSize);
        this.#at = Math.ceil(extent.end / clusterSize);
        next += 1;
      }
    };
    const sink = (batch: Batch): void => {
      const first = batch.offset / clusterSize;
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        passHoles((first + i) * clusterSize + 1);
        this.#add(first + i, 1);
      }
    };
    const reports = await withPools(this.#options, (pools) =>
      run({
        ...plan,
        verb: 'compare',
        pools,
        sink,
        totalBytes: size,
        skippedBytes: size - plan.totalBytes,
        events,
        signal,
      }),
    );
    passHoles(Number.POSITIVE_INFINITY);
    this.#zerosUpTo(this.#store.geometry.clusters(this.#bytes));
    return reports;
  }
}

/** What an open image and a snapshot are compared by. */
interface Sides {
  readonly store: Store;
  readonly snapshot: Snapshot;
  readonly image: Image;
}

/** Compares with the recorded digests: of the store no data is read. */
const compareDigests = async (
  { store, image }: Sides,
  digests: DigestReader,
  snapshotBytes: number,
  options: RunOptions,
): Promise<{ ranges: Ranges; stages: readonly StageReport[] }> => {
  const comparison = new Comparison(store, { image, digests, snapshotBytes }, options);
  const stages = await comparison.run();
  return { ranges: comparison.ranges, stages };
};

/** Compares with the stored bytes, where there are no digests. */
const compareContent = async (
  { store, snapshot, image }: Sides,
  snapshotBytes: number,
  options: RunOptions,
): Promise<{ ranges: Ranges; stages: readonly StageReport[] }> => {
  const { clusterSize } = store.geometry;
  const file = attachFile({ path: image.path, fd: image.fd });
  const bag = new RangeBag();
  const expectZeros = async (range: Extent): Promise<void> => {
    for await (const { start, end } of nonZeroPieces(file, range, clusterSize)) bag.add(start, end);
  };
  const { stages } = await pour(
    {
      verb: 'compare',
      store,
      snapshot,
      digests: undefined,
      window: { start: 0, end: snapshotBytes },
      output: { output: file.spec, manner: 'update', shift: 0, dryRun: true },
      zeros: expectZeros,
      delivered: (batch) => {
        for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
          const at = batch.offset + i * clusterSize;
          bag.add(at, at + batch.lengthOf(i));
        }
      },
    },
    options,
  );
  await expectZeros({ start: snapshotBytes, end: Math.max(snapshotBytes, image.size) });
  return { ranges: bag.sorted(), stages };
};

/** Compares a snapshot of an open store with an image. */
export const compareIn = async (
  store: Store,
  snapshot: Snapshot,
  options: CompareOptions,
): Promise<CompareResult> => {
  const began = performance.now();
  const digests = digestsOf(store, snapshot);
  const image = openImage(options.image);
  try {
    const snapshotBytes = imageSizeOf(store, snapshot);
    const sides = { store, snapshot, image };
    const { ranges, stages } =
      digests && store.facts
        ? await compareDigests(sides, digests, snapshotBytes, options)
        : await compareContent(sides, snapshotBytes, options);
    image.checkSize();
    return {
      store: options.store,
      tag: snapshot.entry.tag,
      image: options.image,
      equal: ranges.count === 0 && snapshotBytes === image.size,
      snapshotBytes,
      imageBytes: image.size,
      differentBytes: ranges.bytes,
      rangeCount: ranges.count,
      ranges: ranges.kept,
      elapsedMs: Math.round(performance.now() - began),
      stages,
    };
  } finally {
    image.close();
  }
};

/** Compares a snapshot with an image. Rejects with a Fault. */
export const compare = async (options: CompareOptions): Promise<CompareResult> => {
  checkThreadNames(options.threads, COMPARE_STAGES);
  if (options.image === STDIN) {
    throw fault('usage', {
      problem: 'Standard input cannot be compared with a snapshot.',
      advice: 'Name a file or a block device.',
    });
  }
  return withStore(options.store, async (store) => {
    await unlock(store, options);
    return compareIn(store, usableSnapshot(store, options.snapshot), options);
  });
};
