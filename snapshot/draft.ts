// One new snapshot in the making: the line of stages, and what enters its tables.

import {
  DIGEST_BYTES,
  formatSize,
  formatSizeUp,
  type GuestCluster,
  guestCluster,
  hostOffset,
  roundUp,
} from '../disk/index.js';
import {
  abortFault,
  type Batch,
  Kind,
  type Pools,
  run,
  type StageReport,
} from '../pipeline/index.js';
import {
  type Built,
  NEW_SNAPSHOT_ICOUNT,
  NIL_UUID,
  type OwnSnapshot,
  SECTOR_BYTES,
  SnapshotBuilder,
  type SnapshotEntry,
  type SnapshotRecord,
  type Store,
  Transaction,
} from '../qcow2/index.js';
import { Contents } from './contents.js';
import type { Feed } from './feed.js';
import { takeLine } from './line.js';
import { nextId } from './names.js';
import { cutFor, cutLayout, memoryOf, memoryToSpare, planSlabs, spareOf } from './plan.js';
import { digesterOf } from './plugged.js';
import type { RunOptions } from './run-options.js';
import type { WritableStore } from './store.js';
import { Twins } from './twins.js';
import { TOOL } from './version.js';

/** Who a new snapshot is. */
export interface Identity {
  readonly tag: string;
  readonly uuid: string;
  /** Left out, or in use: the next free one. */
  readonly id?: string;
  /** When it was taken, since 1970; left out: now. */
  readonly seconds?: number;
  readonly nanoseconds?: number;
  /** Left out: this program. */
  readonly tool?: string;
  /** The dirty source that said what may have changed, and its epoch. */
  readonly dirty: string;
  readonly epoch: string;
  /** Path of the image. */
  readonly image: string;
}

/**
 * Where a dependent snapshot looks for content that it need not store: at the same offset of its parent, or anywhere in
 * the parent and in itself. A complete one always looks anywhere in itself.
 */
export const DEDUPS = ['parent', 'store'] as const;
export type Dedup = (typeof DEDUPS)[number];

/** How a draft is made. */
export interface DraftOptions extends RunOptions {
  /** Default: parent. */
  readonly dedup?: Dedup | undefined;
  /** The codec's own level. */
  readonly level?: number | undefined;
}

/** What the sink counts. */
interface Counts {
  readBytes: number;
  zeroed: number;
  stored: number;
  twins: number;
  storedBytes: number;
}

/** What was put into a snapshot. Sizes in bytes. */
export type DraftCounts = Readonly<Counts> & { readonly metadataBytes: number };

/** One new snapshot in the making. */
export class Draft {
  readonly #options: DraftOptions;
  readonly #feed: Feed;
  readonly #target: WritableStore;
  readonly #parent: OwnSnapshot | undefined;
  readonly #transaction: Transaction;
  readonly #builder: SnapshotBuilder;
  readonly #counts: Counts = { readBytes: 0, zeroed: 0, stored: 0, twins: 0, storedBytes: 0 };
  /** The next of the feed's gaps that the sink has not come past. */
  #nextGap = 0;

  constructor(
    options: DraftOptions,
    feed: Feed,
    target: WritableStore,
    parent: OwnSnapshot | undefined,
  ) {
    const { store } = target;
    const { imageSize } = feed;
    this.#options = options;
    this.#feed = feed;
    this.#target = target;
    this.#parent = parent;
    this.#transaction = Transaction.begin(store);
    this.#transaction.checkHeadroom(store.geometry.clusters(imageSize));
    const diskSize = Math.max(
      roundUp(imageSize, SECTOR_BYTES),
      ...store.snapshots.map(({ entry }) => entry.diskSize ?? 0),
    );
    this.#builder = new SnapshotBuilder(
      store,
      this.#transaction,
      digesterOf(store),
      { imageSize, diskSize },
      parent,
    );
  }

  get #store(): Store {
    return this.#target.store;
  }

  /** Runs the pipeline, source to sink, in threads of these pools. */
  async run(pools: Pools): Promise<readonly StageReport[]> {
    const { image, imageSize, mostlySame, bytes, verb } = this.#feed;
    const { level, threads, events, signal } = this.#options;
    const { clusterSize } = this.#store.geometry;
    const { codec } = this.#target.facts;
    const contents = await this.#parentContents();
    const memory = memoryOf(this.#options.memory) - (contents?.bytes ?? 0);
    const { line } = this.#target;
    // A user's stage may look at all that a batch stands for.
    const known = this.#builder.parentDigests;
    const spans = line.names.length > 0 || !known ? undefined : this.#feed.spans;
    const light = mostlySame || codec === 'none';
    const way = { spans: spans !== undefined, light, bytes };
    const cut = cutFor(clusterSize, imageSize, memory, way);
    const batches = Math.ceil(imageSize / cut.reach);
    this.#counts.readBytes = bytes;
    const steps = takeLine({
      image,
      target: this.#target,
      mostlySame,
      dependent: this.#parent !== undefined,
      twins: this.#twins(),
      contents,
      codec,
      seekable: image?.seekable ?? true,
      placer: this.#transaction.placer,
      bytes,
      batches,
      level,
      threads,
      drops: spans?.drops,
    });
    const room = cut.room / clusterSize;
    const packedBytes = codec === 'none' && !line.links ? 0 : cut.room + room * line.growth;
    const layout = cutLayout(clusterSize, cut, packedBytes);
    const slabs = planSlabs(layout, steps, batches, memory, pools);
    const reports = await run({
      verb,
      slabs,
      pools,
      source: () => (spans && known ? spans.source(slabs, known) : this.#feed.source(slabs, known)),
      steps,
      sink: (batch) => this.#record(batch),
      totalBytes: imageSize,
      skippedBytes: imageSize - bytes,
      events,
      signal,
    });
    this.#clearGaps(Number.POSITIVE_INFINITY);
    return reports;
  }

  /** What a complete snapshot always looks for, a dependent one only when asked. */
  #twins(): Twins | undefined {
    if (this.#parent && this.#options.dedup !== 'store') return undefined;
    const { geometry } = this.#store;
    return new Twins(geometry.clusters(this.#feed.imageSize), geometry.clusterSize);
  }

  /** The parent's clusters by content, where that was asked for and the memory suffices. */
  async #parentContents(): Promise<Contents | undefined> {
    const { dedup, events, memory, signal } = this.#options;
    const parent = this.#parent;
    if (!parent || dedup !== 'store') return undefined;
    const from = {
      store: this.#store,
      parent,
      digester: digesterOf(this.#store),
      counts: this.#transaction.refcounts,
    };
    const { clusterSize } = this.#store.geometry;
    const found = await Contents.of(from, spareOf(memory, clusterSize), () => {
      if (signal?.aborted) throw abortFault(signal);
    });
    if (typeof found !== 'number') return found;
    const needed = formatSizeUp(memoryToSpare(found, clusterSize));
    events?.emit(
      'notice',
      `What moved within the image is stored again: to look for it in ${parent.entry.tag} takes ` +
        `${formatSize(found)}, so give ${needed} of --memory or more.`,
    );
    return undefined;
  }

  /** record: enters a written batch in the new snapshot's tables. */
  #record(batch: Batch): void {
    const first = batch.offset / this.#store.geometry.clusterSize;
    this.#clearGaps(batch.offset);
    // Where the run of live clusters at hand begins: its digests are entered as one.
    let run = batch.nextLive(0);
    for (let i = run; i < batch.count; ) {
      this.#enter(batch, i, guestCluster(first + i));
      const next = batch.nextLive(i + 1);
      if (next !== i + 1 || next === batch.count) {
        const count = i + 1 - run;
        this.#builder.digests(guestCluster(first + run), count, batch.digests, run * DIGEST_BYTES);
        run = next;
      }
      i = next;
    }
  }

  /** Enters where one cluster lies, and counts it. */
  #enter(batch: Batch, i: number, cluster: GuestCluster): void {
    const kind = batch.kinds[i];
    if (kind === Kind.zero) {
      this.#builder.zero(cluster);
      this.#counts.zeroed += 1;
      return;
    }
    const length = kind === Kind.plain ? 0 : (batch.lengths[i] as number);
    this.#builder.stored(cluster, hostOffset(batch.places[i] as number), length);
    if (kind === Kind.twin) {
      this.#counts.twins += 1;
      return;
    }
    this.#counts.stored += 1;
    this.#counts.storedBytes += length === 0 ? this.#store.geometry.clusterSize : length;
  }

  /** Clears the feed's gaps that lie before image byte `before`. */
  #clearGaps(before: number): void {
    const { geometry } = this.#store;
    const { gaps } = this.#feed;
    for (let gap = gaps[this.#nextGap]; gap && gap.start < before; gap = gaps[this.#nextGap]) {
      const first = guestCluster(gap.start / geometry.clusterSize);
      const end = guestCluster(geometry.clusters(gap.end));
      this.#counts.zeroed += this.#builder.clear(first, end);
      this.#nextGap += 1;
    }
  }

  /** Commits the snapshot; resolves when it is durable. */
  async commit(identity: Identity): Promise<SnapshotEntry> {
    const { store } = this.#target;
    const built = this.#builder.finish();
    const record: SnapshotRecord = {
      uuid: identity.uuid,
      parent: this.#parent?.record.uuid ?? NIL_UUID,
      imageSize: this.#feed.imageSize,
      digestL1: built.digestL1,
      root: built.root,
      storedClusters: this.#counts.stored,
      storedBytes: this.#counts.storedBytes,
      tool: identity.tool ?? TOOL,
      dirty: identity.dirty,
      epoch: identity.epoch,
      image: identity.image,
    };
    const entry = newEntry(store, identity, this.#feed.imageSize, built);
    const next = [...store.snapshots, { entry, record, l1: built.l1 }];
    await this.#transaction.publish(next, this.#parent);
    return entry;
  }

  /** Gives back what a failed draft has used. */
  abandon(): void {
    this.#transaction.abandon();
  }

  get counts(): DraftCounts {
    return { ...this.#counts, metadataBytes: this.#transaction.metadataBytes };
  }
}

const newEntry = (
  store: Store,
  identity: Identity,
  imageSize: number,
  built: Built,
): SnapshotEntry => {
  const now = Date.now();
  // Another program may have given one id to several snapshots.
  const isTaken = store.snapshots.some(({ entry }) => entry.id === identity.id);
  return {
    l1Offset: 0,
    l1Entries: built.l1.length,
    id: identity.id === undefined || isTaken ? nextId(store) : identity.id,
    tag: identity.tag,
    seconds: identity.seconds ?? Math.floor(now / 1000),
    nanoseconds: identity.nanoseconds ?? (now % 1000) * 1e6,
    vmClock: 0n,
    vmStateBytes: built.vmStateBytes,
    diskSize: roundUp(imageSize, SECTOR_BYTES),
    icount: NEW_SNAPSHOT_ICOUNT,
    extra: Buffer.alloc(0),
  };
};
