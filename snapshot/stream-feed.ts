// The content of a new snapshot out of a stream.
//
//     (stream) ─▶ decode ─▶ verify ─▶ recut ─▶ (the stages of a take)

import { DIGEST_BYTES, Fault, isZeroDigest } from '../disk/index.js';
import { type Batch, type Pools, run, type SlabPool } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import type { Feed } from './feed.js';
import { planCrews, planSlabs, readingLayout } from './plan.js';
import { Recut } from './recut.js';
import type { RunOptions } from './run-options.js';
import {
  decodeBatch,
  isEndOf,
  type StreamHeader,
  streamBatchBytes,
  streamFault,
} from './stream.js';
import type { StreamReader } from './stream-reader.js';

/** What is damaged is the stream here, not a store. */
const asStreamFault = (error: unknown): unknown => {
  const damaged =
    error instanceof Fault &&
    (error.code === 'digest-mismatch' || error.code === 'payload-damaged');
  if (!damaged) return error;
  const { offset } = error.details;
  return streamFault(`what it holds for image offset ${String(offset)} is damaged`, error);
};

/** A cluster that a stream must hold, by its image byte offset. */
interface Border {
  readonly offset: number;
  came: boolean;
}

/**
 * The cluster in which the image ends apart from its parent's: its digest is of another length, so the parent's says
 * nothing of it. Undefined where there is none, or where it is zeros, which have one digest whatever their length.
 */
const borderOf = (
  imageSize: number,
  clusterSize: number,
  known: DigestReader | undefined,
): Border | undefined => {
  const end = Math.min(imageSize, known?.imageSize ?? imageSize);
  const cluster = Math.floor(end / clusterSize);
  if (!known || imageSize === known.imageSize || end % clusterSize === 0) return undefined;
  const digest = Buffer.alloc(DIGEST_BYTES);
  known.read(cluster, 1, digest);
  return isZeroDigest(digest, 0) ? undefined : { offset: cluster * clusterSize, came: false };
};

/** The batches of a stream as a feed for a new snapshot. */
export class StreamFeed implements Feed {
  readonly verb = 'import';
  readonly image = undefined;
  readonly mostlySame = false;
  readonly gaps = [];
  clusters = 0;
  readonly #reader: StreamReader;
  readonly #header: StreamHeader;
  readonly #pools: Pools;
  readonly #options: RunOptions;

  constructor(reader: StreamReader, header: StreamHeader, pools: Pools, options: RunOptions) {
    this.#reader = reader;
    this.#header = header;
    this.#pools = pools;
    this.#options = options;
  }

  get imageSize(): number {
    return this.#header.imageSize;
  }

  /** How much of it will come is not known. */
  get bytes(): number {
    return this.#header.imageSize;
  }

  async *source(slabs: SlabPool, known: DigestReader | undefined): AsyncGenerator<Batch> {
    const recut = new Recut(slabs, this.#header.imageSize, known);
    const border = borderOf(this.#header.imageSize, this.#header.clusterSize, known);
    const reading = this.#read(recut, border).then(
      () => recut.end(),
      (error: unknown) => recut.end(asStreamFault(error)),
    );
    try {
      yield* recut.batches();
    } finally {
      recut.abandon();
      await reading;
    }
  }

  /** Reads, decodes and verifies the stream. */
  async #read(recut: Recut, border: Border | undefined): Promise<void> {
    const { imageSize, clusterSize, digest, seed } = this.#header;
    const { memory, threads, signal } = this.#options;
    const batchBytes = streamBatchBytes(clusterSize);
    const batches = Math.ceil(imageSize / batchBytes) + 1;
    const crew = planCrews(threads, batches, false);
    const digests = { algorithm: digest, seed: Buffer.from(seed, 'hex') };
    const steps = [
      stages.decode({ codec: 'zstd', digests }, crew('decode', Number.POSITIVE_INFINITY, true)),
      stages.verify(digests, crew('verify', 1, false)),
    ];
    const slabs = planSlabs(readingLayout(clusterSize, batchBytes), steps, batches, memory);
    await run({
      verb: this.verb,
      slabs,
      pools: this.#pools,
      source: () => this.#batches(slabs, border),
      steps,
      sink: (batch) => recut.take(batch),
      totalBytes: imageSize,
      signal,
    });
  }

  async *#batches(slabs: SlabPool, border: Border | undefined): AsyncGenerator<Batch> {
    const totals = { batches: 0, clusters: 0 };
    for (let next = 0; ; ) {
      const { kind, tables } = await this.#reader.section(slabs.layout);
      if (kind === 'E') {
        if (!isEndOf(tables, totals)) throw streamFault('a part of it is missing');
        if (border?.came === false) {
          throw streamFault(
            'the cluster in which its image and that of its parent end apart is missing',
          );
        }
        await this.#reader.end();
        this.clusters = totals.clusters;
        return;
      }
      if (kind !== 'B') throw streamFault('a section is not where it may be');
      const batch = await slabs.lease();
      const bounds = { imageSize: this.#header.imageSize, next };
      for (const piece of decodeBatch(tables, batch, bounds)) await this.#reader.fill(piece);
      totals.batches += 1;
      totals.clusters += batch.count;
      next = batch.offset + batch.count * batch.layout.clusterSize;
      if (border && batch.offset <= border.offset && border.offset < next) border.came = true;
      yield batch;
    }
  }
}
