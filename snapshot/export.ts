// export: a snapshot as a stream, whole or as what has changed since another one.
//
//     map ─▶ fetch ─▶ decode ─▶ verify ─▶ compress ─▶ (stream)

import {
  closeForStream,
  type DigestOptions,
  fault,
  OutStream,
  openForStream,
  settleStream,
} from '../disk/index.js';
import {
  abortFault,
  type Batch,
  Kind,
  type MainStep,
  run,
  type StageReport,
} from '../pipeline/index.js';
import type { OwnSnapshot, Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { planReading } from './from-store.js';
import { checkLevel } from './guards.js';
import { checkNameable, checkUuids, usableSnapshot, withUuid } from './names.js';
import { checkThreadNames } from './plan.js';
import { type StageOptions, unlock } from './plugged.js';
import { type RunOptions, withPools } from './run-options.js';
import { sentDigests } from './sent-digests.js';
import { extentsOf } from './snapshot-feed.js';
import { asOwn, digestsOf, withStore } from './store.js';
import {
  encodeBatch,
  encodeEnd,
  encodeHead,
  MAGIC,
  plainText,
  Sealer,
  type SectionKind,
  type StreamHeader,
  shortText,
  streamBatchBytes,
} from './stream.js';

export interface ExportOptions extends RunOptions, StageOptions {
  readonly store: string;
  /** A tag, "#id", uuid prefix or "latest". */
  readonly snapshot: string;
  /** Only what has changed since this one, which the receiver must have; left out: everything. */
  readonly since?: string | undefined;
  /** Where the stream goes: an open descriptor. */
  readonly fd: number;
  /** Level of the stream's zstd. */
  readonly level?: number | undefined;
}

/** What an export did. Sizes in bytes, times in milliseconds. */
export interface ExportResult {
  readonly store: string;
  readonly tag: string;
  /** Tag of the snapshot that the receiver must have; null for none. */
  readonly since: string | null;
  readonly imageBytes: number;
  /** Clusters sent, zeros too. */
  readonly clusters: number;
  readonly streamBytes: number;
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
}

export const EXPORT_STAGES = ['fetch', 'decode', 'verify', 'compress'] as const;

const STREAM_CODEC = 'zstd';
/** What the output is for people. */
const STREAM_NAME = 'the stream';

/** Writes sections. */
class StreamWriter {
  readonly #out: OutStream;
  readonly #sealer = new Sealer();
  bytes = 0;

  constructor(out: OutStream) {
    this.#out = out;
  }

  async #put(bytes: Buffer): Promise<void> {
    await this.#out.writeGently(bytes);
    this.bytes += bytes.length;
  }

  magic(): Promise<void> {
    return this.#put(MAGIC);
  }

  async section(kind: SectionKind, tables: Buffer, payload: readonly Buffer[] = []): Promise<void> {
    const head = encodeHead(kind, tables.length);
    await this.#put(Buffer.concat([head, tables, this.#sealer.seal(head, tables)]));
    for (const piece of payload) await this.#put(piece);
  }
}

/** What was decoded is to be encoded again. */
const unpackStep: MainStep = {
  name: 'unpack',
  main: ({ kinds, count }) => {
    for (let i = 0; i < count; i += 1) if (kinds[i] === Kind.packed) kinds[i] = Kind.plain;
  },
};

const headerOf = (
  { algorithm, seed }: DigestOptions,
  clusterSize: number,
  { entry, record }: OwnSnapshot,
  since: OwnSnapshot | undefined,
): StreamHeader => ({
  version: 1,
  uuid: record.uuid,
  parent: since?.record.uuid ?? null,
  parentTag: since ? plainText(since.entry.tag) : null,
  tag: shortText(entry.tag),
  seconds: entry.seconds,
  nanoseconds: entry.nanoseconds,
  imageSize: record.imageSize,
  clusterSize,
  digest: algorithm,
  seed: Buffer.from(seed).toString('hex'),
  dirty: plainText(record.dirty),
  epoch: plainText(record.epoch),
  image: plainText(record.image),
  tool: plainText(record.tool),
});

const ownOf = (store: Store, wanted: string): OwnSnapshot => {
  const own = asOwn(usableSnapshot(store, wanted));
  if (own) checkUuids(store, withUuid(store, own.record.uuid));
  if (own && store.facts) return own;
  throw fault('usage', {
    problem: `The snapshot ${JSON.stringify(wanted)} was made by another program and has no digests to go with it.`,
    advice: 'Make the file a store of nvsnap first, with "nvsnap convert".',
  });
};

const exportFrom = async (
  store: Store,
  options: ExportOptions,
  fd: number,
  began: number,
): Promise<ExportResult> => {
  const snapshot = ownOf(store, options.snapshot);
  checkNameable(store, snapshot);
  const since = options.since === undefined ? undefined : ownOf(store, options.since);
  const sent = await sentDigests(store);
  const { clusterSize } = store.geometry;
  const size = snapshot.record.imageSize;
  const source = { store, snapshot, base: since, verb: 'export' };
  const extents = extentsOf(source, clusterSize);
  const plan = planReading(
    {
      store,
      snapshot,
      digests: digestsOf(store, snapshot),
      parts: extents,
      zerosToo: 'all',
      mostBatchBytes: streamBatchBytes(clusterSize),
    },
    options,
    (crew) => [
      unpackStep,
      ...sent.steps,
      stages.compress(
        { codec: STREAM_CODEC, level: options.level },
        crew('compress', Number.POSITIVE_INFINITY, true),
      ),
    ],
  );
  const { signal } = options;
  const writer = new StreamWriter(new OutStream(fd, STREAM_NAME, () => signal?.aborted === true));
  const totals = { batches: 0, clusters: 0 };
  await writer.magic();
  const header = headerOf(sent.digests, clusterSize, snapshot, since);
  await writer.section('H', Buffer.from(JSON.stringify(header)));
  const reports = await withPools(options, (pools) =>
    run({
      ...plan,
      verb: 'export',
      pools,
      sink: async (batch: Batch) => {
        const { tables, payload } = encodeBatch(batch);
        totals.batches += 1;
        totals.clusters += batch.count;
        await writer.section('B', tables, payload);
      },
      events: options.events,
      signal,
    }),
  );
  await writer.section('E', encodeEnd(totals));
  if (signal?.aborted) throw abortFault(signal);
  return {
    store: options.store,
    tag: snapshot.entry.tag,
    since: since?.entry.tag ?? null,
    imageBytes: size,
    clusters: totals.clusters,
    streamBytes: writer.bytes,
    elapsedMs: Math.round(performance.now() - began),
    stages: reports,
  };
};

/** Exports a snapshot. Rejects with a Fault; the stream is then without its end, and no receiver takes it. */
export const exportSnapshot = async (options: ExportOptions): Promise<ExportResult> => {
  const began = performance.now();
  checkThreadNames(options.threads, EXPORT_STAGES);
  checkLevel(STREAM_CODEC, options.level);
  return withStore(options.store, async (store) => {
    await unlock(store, options);
    const fd = openForStream(options.fd);
    try {
      const result = await exportFrom(store, options, fd, began);
      await settleStream(fd, STREAM_NAME);
      return result;
    } finally {
      closeForStream(fd, options.fd);
    }
  });
};
