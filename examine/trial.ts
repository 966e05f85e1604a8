// One run of a stage under examination, in the engine that runs takes; and what came by before it and after it.

import { DIGEST_BYTES, type DigestOptions, isZeroDigest, openDigester } from '../disk/index.js';
import {
  type Batch,
  Kind,
  type MainStep,
  type Pools,
  run,
  SlabPool,
  type StageReport,
} from '../pipeline/index.js';
import { makeImage } from './contents.js';
import type { LineKind, StageSubject, Wear } from './subject.js';
import { Watch } from './watch.js';

/** What is tried. */
export interface TrialSetting {
  readonly line: LineKind;
  readonly clusterSize: number;
  readonly image: Buffer;
  /** Clusters of a batch. */
  readonly batchClusters?: number;
  readonly threads?: number;
  readonly strict?: boolean;
  readonly watch?: Watch;
  readonly wear?: Wear;
  readonly signal?: AbortSignal;
  /** True to keep nothing of what comes by, where memory is measured. */
  readonly blind?: boolean;
  /** Hears of each batch before the stage has it. */
  readonly coming?: (batch: Batch) => void;
}

/** What came by at one place of a line. */
export class Seen {
  readonly bytes: Buffer;
  /** A cluster that did not come by had nothing left to do. */
  readonly kinds: Uint8Array;
  readonly payloads: (Buffer | undefined)[] = [];
  readonly #clusterSize: number;

  constructor(imageBytes: number, clusterSize: number) {
    const clusters = Math.ceil(imageBytes / clusterSize);
    this.bytes = Buffer.alloc(imageBytes);
    this.kinds = new Uint8Array(clusters).fill(Kind.same);
    this.#clusterSize = clusterSize;
  }

  note(batch: Batch): void {
    const first = batch.offset / this.#clusterSize;
    batch.data.copy(this.bytes, batch.offset, 0, batch.length);
    this.kinds.set(batch.kinds.subarray(0, batch.count), first);
    for (let i = 0; i < batch.count; i += 1) {
      if (batch.kinds[i] !== Kind.packed) continue;
      const start = batch.starts[i] as number;
      const payload = batch.packed.subarray(start, start + (batch.lengths[i] as number));
      this.payloads[first + i] = Buffer.from(payload);
    }
  }

  /** The image bytes of cluster `i`. */
  cluster(i: number): Buffer {
    return this.bytes.subarray(i * this.#clusterSize, (i + 1) * this.#clusterSize);
  }

  /** The first cluster that came by differently; -1 when there is none. Bytes count only where some are left. */
  differsFrom(other: Seen): number {
    return this.kinds.findIndex((kind, i) => {
      if (kind !== other.kinds[i]) return true;
      if (kind === Kind.zero || kind === Kind.same || kind === Kind.damaged) return false;
      const [mine, its] = [this.payloads[i], other.payloads[i]];
      if (kind === Kind.packed && mine && its) return !mine.equals(its);
      return !this.cluster(i).equals(other.cluster(i));
    });
  }
}

/** What came of a trial. */
export interface Tried {
  readonly before: Seen;
  readonly after: Seen;
  readonly reports: readonly StageReport[];
  readonly watch: Watch;
}

const BATCH_CLUSTERS = 8;
/** Batches on their way at once. */
const SLABS = 6;
/** What an earlier batch has left in a slab. */
const STALE = 0xa5;
/** Of each payload the store tells readers only the sector in which it ends. */
const SPARE_BYTES = 512;

/** Every so many clusters one is as in the parent. */
const SAME_STEP = 5;

/** Enters a batch's digests, and what is known of the parent or the snapshot. `finds`: zeros are found already. */
const enterDigests = (
  batch: Batch,
  digests: DigestOptions,
  line: LineKind,
  finds: boolean,
): void => {
  const digester = openDigester(digests);
  const { clusterSize } = batch.layout;
  const first = batch.offset / clusterSize;
  digester.fingerprints(batch.data.subarray(0, batch.length), clusterSize, batch.digests, 0);
  for (let i = 0; i < batch.count; i += 1) {
    const [at, end] = [i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES];
    if (finds && isZeroDigest(batch.digests, at)) batch.kinds[i] = Kind.zero;
    const isKnown = line.codes || line.reads || (first + i) % SAME_STEP === SAME_STEP - 1;
    if (isKnown) batch.digests.copy(batch.known, at, at, end);
    else batch.known.fill(0xee, at, end);
  }
  batch.digested = !line.undigested;
};

/** Tries stages, in threads that stay from one trial to the next. */
export class Bench {
  readonly #subject: StageSubject;
  readonly #poolsFor: (threads: number) => Pools;
  readonly #images = new Map<string, Buffer>();
  readonly seed: number;

  constructor(subject: StageSubject, seed: number, poolsFor: (threads: number) => Pools) {
    this.#subject = subject;
    this.#poolsFor = poolsFor;
    this.seed = seed;
  }

  /** An image of so many bytes; nobody changes it. */
  image(bytes: number, clusterSize: number): Buffer {
    const name = `${bytes} of ${clusterSize}`;
    const image = this.#images.get(name) ?? makeImage(bytes, clusterSize, this.seed);
    this.#images.set(name, image);
    return image;
  }

  /** Runs one line to its end; rejects as a take would. */
  async run(trial: TrialSetting): Promise<Tried> {
    const { line, clusterSize, image, threads = 1, strict = false, watch = new Watch() } = trial;
    const { batchClusters = BATCH_CLUSTERS, wear, signal, blind = false } = trial;
    const digests: DigestOptions = { algorithm: 'xxh3-128', seed: Buffer.alloc(8, this.seed) };
    const setting = { clusterSize, image, digests, strict, threads, watch, wear };
    const { before, stages, growth = 0, close } = await line.make(setting);
    const batchBytes = batchClusters * clusterSize;
    const packedBytes = batchClusters * (clusterSize + growth + SPARE_BYTES);
    const slabs = new SlabPool({ clusterSize, clusters: batchClusters, packedBytes }, SLABS);
    const seen = {
      before: new Seen(image.length, clusterSize),
      after: new Seen(image.length, clusterSize),
    };
    const coming: MainStep = {
      name: 'coming',
      main: (batch) => {
        if (!blind) seen.before.note(batch);
        trial.coming?.(batch);
      },
    };
    try {
      const reports = await run({
        verb: `examination of ${this.#subject.name}`,
        slabs,
        pools: this.#poolsFor(threads),
        async *source() {
          for (let at = 0; at < image.length; at += batchBytes) {
            const batch = await slabs.lease();
            batch.begin(at, Math.min(batchBytes, image.length - at));
            batch.data.fill(STALE);
            image.copy(batch.data, 0, at, at + batch.length);
            enterDigests(batch, digests, line, wear !== undefined);
            yield batch;
          }
        },
        steps: [...before, coming, ...stages],
        sink: (batch) => {
          if (!blind) seen.after.note(batch);
        },
        totalBytes: image.length,
        signal,
      });
      return { ...seen, reports, watch };
    } finally {
      close?.();
    }
  }
}
