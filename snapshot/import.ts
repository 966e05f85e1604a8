// import: a snapshot out of a stream, on top of the one it was exported since.
//
//     (stream) ─▶ decode ─▶ verify ─▶ recut ─▶ dedup ─▶ pad ─▶ compress ─▶ place ─▶ write ─▶ record, then commit

import fs from 'node:fs';
import { promisify } from 'node:util';
import { Fault, fault, ioFault } from '../disk/index.js';
import { abortFault, type Batch, type Pools, run, type SlabPool } from '../pipeline/index.js';
import type { DigestReader, OwnSnapshot, Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { Draft } from './draft.js';
import type { Feed } from './feed.js';
import { checkActive, checkLevel } from './guards.js';
import { checkTag } from './names.js';
import { checkThreadNames, planCrews, planSlabs, readingLayout } from './plan.js';
import { Recut } from './recut.js';
import { type RunOptions, withPools } from './run-options.js';
import {
  asOwn,
  checkAsked,
  openWritable,
  type StoreSettings,
  type WritableStore,
} from './store.js';
import {
  decodeBatch,
  decodeHead,
  decodeHeader,
  HEAD_BYTES,
  isEndOf,
  MAGIC,
  maxTableBytes,
  SEAL_BYTES,
  Sealer,
  type SectionKind,
  type StreamHeader,
  streamBatchBytes,
  streamFault,
} from './stream.js';

export interface ImportOptions extends RunOptions, StoreSettings {
  /** Path of the store; made when it does not exist and the stream is complete. */
  readonly store: string;
  /** Where the stream comes from: an open descriptor. */
  readonly fd: number;
  /** Another tag than the snapshot had. */
  readonly tag?: string | undefined;
  /** The store's codec's own level. */
  readonly level?: number | undefined;
  /** A file that records every write and sync of the store, for tests and audits. */
  readonly ioLog?: string | undefined;
}

/** What an import did. Sizes in bytes, times in milliseconds. */
export interface ImportResult {
  readonly store: string;
  readonly id: string;
  readonly tag: string;
  readonly uuid: string;
  /** Tag of the snapshot it builds on; null for none. */
  readonly parent: string | null;
  readonly imageBytes: number;
  /** Clusters that came, in those of the stream. */
  readonly clusters: number;
  readonly storedClusters: number;
  readonly storedBytes: number;
  readonly elapsedMs: number;
}

export const IMPORT_STAGES = ['decode', 'verify', 'dedup', 'pad', 'compress', 'write'] as const;

const readInto = promisify(fs.read) as (
  fd: number,
  buffer: Buffer,
  offset: number,
  length: number,
  position: null,
) => Promise<{ bytesRead: number }>;

/** Reads sections. */
class StreamReader {
  readonly #fd: number;
  readonly #sealer = new Sealer();

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Fills a buffer; the stream must not end before. */
  async fill(into: Buffer): Promise<void> {
    if ((await this.#upTo(into)) < into.length) throw streamFault('it ends too early');
  }

  async #upTo(into: Buffer): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const { bytesRead } = await readInto(this.#fd, into, done, into.length - done, null).catch(
        (error: unknown) => {
          throw ioFault(error, 'the stream', 'read');
        },
      );
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async magic(): Promise<void> {
    const magic = Buffer.alloc(MAGIC.length);
    if ((await this.#upTo(magic)) < magic.length || !magic.equals(MAGIC)) {
      throw streamFault('it was not made by "nvsnap export"');
    }
  }

  /** The next section's tables, sealed as they must be. */
  async section(layout?: SlabPool['layout']): Promise<{ kind: SectionKind; tables: Buffer }> {
    const head = Buffer.alloc(HEAD_BYTES);
    await this.fill(head);
    const { kind, length } = decodeHead(head);
    if (length > maxTableBytes(kind, layout)) throw streamFault('a section is too long');
    const tables = Buffer.alloc(length);
    const seal = Buffer.alloc(SEAL_BYTES);
    await this.fill(tables);
    await this.fill(seal);
    if (!this.#sealer.seal(head, tables).equals(seal)) {
      throw streamFault('a section does not match its seal');
    }
    return { kind, tables };
  }

  async end(): Promise<void> {
    if ((await this.#upTo(Buffer.alloc(1))) > 0) throw streamFault('it goes on after its end');
  }
}

/** What is damaged is the stream here, not a store. */
const asStreamFault = (error: unknown): unknown => {
  const damaged =
    error instanceof Fault &&
    (error.code === 'digest-mismatch' || error.code === 'payload-damaged');
  if (!damaged) return error;
  const { offset } = error.details;
  return streamFault(`what it holds for image offset ${String(offset)} is damaged`, error);
};

/** The batches of a stream as a feed for a new snapshot. */
class StreamFeed implements Feed {
  readonly verb = 'import';
  readonly image = undefined;
  readonly mostlySame = false;
  readonly gaps = [];
  clusters = 0;
  readonly #reader: StreamReader;
  readonly #header: StreamHeader;
  readonly #pools: Pools;
  readonly #options: ImportOptions;

  constructor(reader: StreamReader, header: StreamHeader, pools: Pools, options: ImportOptions) {
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
    const reading = this.#read(recut).then(
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
  async #read(recut: Recut): Promise<void> {
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
      source: () => this.#batches(slabs),
      steps,
      sink: (batch) => recut.take(batch),
      totalBytes: imageSize,
      signal,
    });
  }

  async *#batches(slabs: SlabPool): AsyncGenerator<Batch> {
    const totals = { batches: 0, clusters: 0 };
    for (let next = 0; ; ) {
      const { kind, tables } = await this.#reader.section(slabs.layout);
      if (kind === 'E') {
        if (!isEndOf(tables, totals)) throw streamFault('a part of it is missing');
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
      yield batch;
    }
  }
}

/** The snapshot that the stream builds on; it must be there, in clusters of the same size. */
const parentOf = (store: Store, header: StreamHeader): OwnSnapshot | undefined => {
  const { path, snapshots, geometry } = store;
  const present = snapshots.find(({ record }) => record?.uuid === header.uuid);
  if (present) throw fault('snapshot-present', { store: path, tag: present.entry.tag });
  if (header.parent === null) return undefined;
  const found = snapshots.find(({ record }) => record?.uuid === header.parent);
  if (found?.damage) throw found.damage;
  const parent = found && asOwn(found);
  if (!parent) {
    const wanted = header.parentTag ?? header.parent;
    throw fault('parent-missing', { store: path, wanted, uuid: header.parent });
  }
  if (geometry.clusterSize !== header.clusterSize) {
    throw fault('store-settings', {
      path,
      setting: 'clusters of',
      has: `${geometry.clusterSize} bytes`,
      asked: `${header.clusterSize} as the stream`,
    });
  }
  return parent;
};

const importInto = async (
  target: WritableStore,
  feed: StreamFeed,
  header: StreamHeader,
  pools: Pools,
  options: ImportOptions,
  began: number,
): Promise<ImportResult> => {
  const { store } = target;
  checkLevel(target.facts.codec, options.level);
  checkActive(store);
  const parent = parentOf(store, header);
  const tag = options.tag ?? header.tag;
  checkTag(store, tag);
  const draft = new Draft(options, feed, target, parent);
  try {
    await draft.run(pools);
    if (options.signal?.aborted) throw abortFault(options.signal);
    const { uuid, seconds, nanoseconds, dirty, epoch, image, tool } = header;
    const identity = { tag, uuid, seconds, nanoseconds, dirty, epoch, image, tool };
    const entry = await draft.commit(identity);
    const { stored, storedBytes } = draft.counts;
    return {
      store: options.store,
      id: entry.id,
      tag,
      uuid,
      parent: parent?.entry.tag ?? null,
      imageBytes: header.imageSize,
      clusters: feed.clusters,
      storedClusters: stored,
      storedBytes,
      elapsedMs: Math.round(performance.now() - began),
    };
  } catch (error) {
    draft.tidyUp();
    throw error instanceof Fault ? error : ioFault(error, store.path, 'write');
  }
};

/** Two pipelines run at once: each gets half of the memory. */
const halved = (options: ImportOptions): ImportOptions => ({
  ...options,
  memory: Math.floor((options.memory ?? 192 * 2 ** 20) / 2),
});

/** Imports a snapshot. Rejects with a Fault, and then the store is as it was. */
export const importSnapshot = async (options: ImportOptions): Promise<ImportResult> => {
  const began = performance.now();
  checkThreadNames(options.threads, IMPORT_STAGES);
  checkAsked(options);
  const reader = new StreamReader(options.fd);
  await reader.magic();
  const { kind, tables } = await reader.section();
  if (kind !== 'H') throw streamFault('it does not begin with a header');
  const header = decodeHeader(tables);
  if (header.parent !== null && !fs.existsSync(options.store)) {
    throw fault('store-missing', { path: options.store });
  }
  const made = fs.existsSync(options.store)
    ? options
    : { ...options, clusterSize: options.clusterSize ?? header.clusterSize };
  const target = await openWritable(options.store, made, options.ioLog);
  try {
    return await withPools(options, (pools) => {
      const feed = new StreamFeed(reader, header, pools, halved(options));
      return importInto(target, feed, header, pools, halved(options), began);
    });
  } catch (error) {
    if (target.created) fs.rmSync(options.store, { force: true });
    throw error;
  } finally {
    target.store.file.close();
  }
};
