// One take while it runs: the line of stages, and what enters the new snapshot's tables.

import type { DirtySource, Epoch } from '../dirty/index.js';
import {
  alignExtents,
  DIGEST_BYTES,
  type Extent,
  type GuestCluster,
  guestCluster,
  hostOffset,
  intersectExtents,
  openDigester,
  roundUp,
  subtractExtents,
} from '../disk/index.js';
import {
  type Batch,
  Kind,
  type Pools,
  run,
  type SlabPool,
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
import type { Image } from './image.js';
import { takeLine } from './line.js';
import { checkLineage } from './lineage.js';
import { nextId } from './names.js';
import { batchBytesFor, planSlabs } from './plan.js';
import { bytesIn, imageBatches } from './reading.js';
import type { WritableStore } from './store.js';
import type { TakeOptions, TakeResult } from './take-options.js';
import { TOOL } from './version.js';

/** What the sink counts. */
interface Counts {
  readBytes: number;
  zeroed: number;
  stored: number;
  twins: number;
  storedBytes: number;
}

/** One take while it runs. */
export class Draft {
  readonly #options: TakeOptions;
  readonly #image: Image;
  readonly #target: WritableStore;
  readonly #parent: OwnSnapshot | undefined;
  readonly #transaction: Transaction;
  readonly #builder: SnapshotBuilder;
  readonly #counts: Counts = { readBytes: 0, zeroed: 0, stored: 0, twins: 0, storedBytes: 0 };
  /** Ranges known to be zero, waiting for the sink to come past them: from `#nextGap` on. */
  #gaps: readonly Extent[] = [];
  #nextGap = 0;

  constructor(
    options: TakeOptions,
    image: Image,
    target: WritableStore,
    parent: OwnSnapshot | undefined,
  ) {
    const { store, facts } = target;
    const digester = openDigester(facts.digest, facts.seed);
    if (parent && !options.otherImage) checkLineage(store, image, parent, digester);
    this.#options = options;
    this.#image = image;
    this.#target = target;
    this.#parent = parent;
    this.#transaction = Transaction.begin(store);
    this.#transaction.checkHeadroom();
    const diskSize = Math.max(
      roundUp(image.size, SECTOR_BYTES),
      ...store.snapshots.map(({ entry }) => entry.diskSize ?? 0),
    );
    this.#builder = new SnapshotBuilder(
      store,
      this.#transaction,
      digester,
      { imageSize: image.size, diskSize },
      parent,
    );
  }

  get #store(): Store {
    return this.#target.store;
  }

  /** Clusters per batch, for the whole run. */
  get #batchClusters(): number {
    const { clusterSize } = this.#store.geometry;
    const dependent = this.#parent !== undefined;
    const { memory } = this.#options;
    return batchBytesFor(clusterSize, this.#image.size, memory, dependent) / clusterSize;
  }

  /** Runs the pipeline, source to sink, in threads of these pools. */
  async run(epoch: Epoch, pools: Pools): Promise<readonly StageReport[]> {
    const clusters = this.#batchClusters;
    const { clusterSize } = this.#store.geometry;
    const extents = this.#candidates(epoch);
    const bytes = bytesIn(extents);
    this.#counts.readBytes = bytes;
    const batches = Math.ceil(this.#image.size / (clusters * clusterSize));
    const steps = takeLine({
      image: this.#image,
      target: this.#target,
      dependent: this.#parent !== undefined,
      codec: this.#target.facts.codec,
      seekable: this.#image.seekable,
      placer: this.#transaction.placer,
      bytes,
      batches,
      level: this.#options.level,
      threads: this.#options.threads,
    });
    const packedBytes = this.#target.facts.codec === 'none' ? 0 : clusters * clusterSize;
    const slabs = planSlabs(
      { clusterSize, clusters, packedBytes },
      steps,
      batches,
      this.#options.memory,
    );
    const reports = await run({
      verb: 'take',
      slabs,
      pools,
      source: () => this.#source(extents, slabs),
      steps,
      sink: (batch) => this.#record(batch),
      totalBytes: this.#image.size,
      skippedBytes: this.#image.size - bytes,
      events: this.#options.events,
      signal: this.#options.signal,
    });
    this.#clearGaps(Number.POSITIVE_INFINITY);
    return reports;
  }

  /** Ranges to read, on cluster boundaries: dirty, and not holes. Dirty holes are noted as zero. */
  #candidates(epoch: Epoch): readonly Extent[] {
    const { clusterSize } = this.#store.geometry;
    const { size } = this.#image;
    const data = [...alignExtents(this.#image.data(), clusterSize, size)];
    if (!this.#parent) return data;
    const dirty = [...alignExtents(epoch.extents(), clusterSize, size)];
    this.#gaps = [...subtractExtents(dirty, data)];
    return [...intersectExtents(data, dirty)];
  }

  async *#source(extents: readonly Extent[], slabs: SlabPool): AsyncGenerator<Batch> {
    if (!this.#image.seekable && this.#image.size === 0) {
      // There is nothing to read, but scan must see that the pipe ends here.
      const batch = await slabs.lease();
      batch.begin(0, 0);
      yield batch;
    }
    yield* imageBatches(extents, slabs, this.#builder.parentDigests);
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

  /** Clears the zero ranges that lie before image byte `before`. */
  #clearGaps(before: number): void {
    const { geometry } = this.#store;
    for (
      let gap = this.#gaps[this.#nextGap];
      gap && gap.start < before;
      gap = this.#gaps[this.#nextGap]
    ) {
      const first = guestCluster(gap.start / geometry.clusterSize);
      const end = guestCluster(geometry.clusters(gap.end));
      this.#counts.zeroed += this.#builder.clear(first, end);
      this.#nextGap += 1;
    }
  }

  /** Commits the snapshot; resolves when it is durable. */
  async commit(identity: {
    tag: string;
    uuid: string;
    source: DirtySource;
    epoch: Epoch;
  }): Promise<SnapshotEntry> {
    const { store } = this.#target;
    const built = this.#builder.finish();
    const record: SnapshotRecord = {
      uuid: identity.uuid,
      parent: this.#parent?.record.uuid ?? NIL_UUID,
      imageSize: this.#image.size,
      digestL1: built.digestL1,
      root: built.root,
      storedClusters: this.#counts.stored,
      storedBytes: this.#counts.storedBytes,
      tool: TOOL,
      dirty: identity.source.name,
      epoch: identity.epoch.id,
      image: this.#image.realPath,
    };
    const entry = newEntry(store, identity.tag, this.#image.size, built);
    await this.#transaction.publish([...store.snapshots, { entry, record, l1: built.l1 }]);
    return entry;
  }

  abandon(): void {
    this.#transaction.abandon();
  }

  result(done: {
    entry: SnapshotEntry;
    uuid: string;
    elapsedMs: number;
    stages: readonly StageReport[];
  }): TakeResult {
    return {
      store: this.#store.path,
      id: done.entry.id,
      tag: done.entry.tag,
      uuid: done.uuid,
      parent: this.#parent?.entry.tag ?? null,
      imageBytes: this.#image.size,
      readBytes: this.#counts.readBytes,
      changedClusters: this.#counts.stored + this.#counts.twins + this.#counts.zeroed,
      zeroedClusters: this.#counts.zeroed,
      twinClusters: this.#counts.twins,
      storedClusters: this.#counts.stored,
      storedBytes: this.#counts.storedBytes,
      metadataBytes: this.#transaction.metadataBytes,
      storeBytes: this.#store.file.size(),
      elapsedMs: Math.round(done.elapsedMs),
      stages: done.stages,
    };
  }
}

const newEntry = (store: Store, tag: string, imageSize: number, built: Built): SnapshotEntry => {
  const now = Date.now();
  return {
    l1Offset: 0,
    l1Entries: built.l1.length,
    id: nextId(store),
    tag,
    seconds: Math.floor(now / 1000),
    nanoseconds: (now % 1000) * 1e6,
    vmClock: 0n,
    vmStateBytes: built.vmStateBytes,
    diskSize: roundUp(imageSize, SECTOR_BYTES),
    icount: NEW_SNAPSHOT_ICOUNT,
    extra: Buffer.alloc(0),
  };
};
