// A snapshot that another program made gets digests of its own, so that takes can depend on it: its clusters stay
// where they are, but for stored zeros; digests and a record are added, in one commit.
//
//     map ─▶ fetch ─▶ decode ─▶ dedup (digests) ─▶ (digest table)

import { DIGEST_BYTES, fault, guestCluster } from '../disk/index.js';
import { type Batch, Kind, type Pools, run } from '../pipeline/index.js';
import {
  hasBitmaps,
  MIN_NEW_CLUSTER_BITS,
  NIL_UUID,
  type OwnSnapshot,
  REFCOUNT_ORDER,
  type Snapshot,
  SnapshotBuilder,
  type SnapshotRecord,
  Store,
  Transaction,
} from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { planReading } from './from-store.js';
import type { Image } from './image.js';
import { SnapshotMap } from './map.js';
import { digesterOf, digestOptionsOf } from './plugged.js';
import { pour } from './pour.js';
import type { RunOptions } from './run-options.js';
import {
  type Adoption,
  asOwn,
  codecOf,
  DEFAULT_DIGEST,
  imageSizeOf,
  SEED_BYTES,
  type WritableStore,
} from './store.js';
import { TOOL } from './version.js';

/** One equal cluster among this many says "same image". */
const SAMPLES = 64;

/** Why a file of another program cannot become a store as it is; undefined when it can. */
const obstacleOf = (store: Store): string | undefined => {
  const { header, geometry, extensions } = store;
  if (header.version !== 3) return 'it is of version 2 (compat 0.10)';
  if (header.refcountOrder !== REFCOUNT_ORDER) {
    return `its refcounts have ${2 ** header.refcountOrder} bits, not ${2 ** REFCOUNT_ORDER}`;
  }
  if (geometry.clusterBits < MIN_NEW_CLUSTER_BITS) return 'its clusters are smaller than 4 KiB';
  if (geometry.extendedL2) return 'it has extended L2 entries';
  if (hasBitmaps(extensions)) return 'it holds dirty bitmaps';
  return undefined;
};

/** The facts of a file that is to become a store; refused when it cannot. */
export const adoptedFacts: Adoption = async (store, asked) => {
  const reason = obstacleOf(store);
  if (reason !== undefined) throw fault('store-unadoptable', { path: store.path, reason });
  const { randomBytes, randomUUID } = await import('node:crypto');
  const packed = codecOf(store);
  return {
    uuid: randomUUID(),
    digest: asked.digest ?? DEFAULT_DIGEST,
    seed: randomBytes(SEED_BYTES),
    // What is plain needs no codec, and what QEMU has packed in such a file is read as zlib.
    codec: packed === 'zlib' && asked.compression === 'none' ? 'none' : packed,
    chain: [],
  };
};

const refuseState = (store: Store, { entry }: Snapshot): void => {
  if (entry.vmStateBytes === 0) return;
  throw fault('store-unadoptable', {
    path: store.path,
    reason: `its snapshot ${JSON.stringify(entry.tag)} holds the state of a running machine, where digests would lie`,
  });
};

/** Up to SAMPLES clusters with data, spread over the part that snapshot and image have in common. */
const samplesOf = (map: SnapshotMap, clusters: number): number[] => {
  const data = [...map.dataRuns()].flatMap(([from, to]) => {
    const end = Math.min(to, clusters);
    return from < end ? [{ from, end }] : [];
  });
  const total = data.reduce((sum, { from, end }) => sum + end - from, 0);
  const step = Math.max(1, total / SAMPLES);
  const samples: number[] = [];
  let before = 0;
  for (const { from, end } of data) {
    for (; samples.length * step < before + end - from; ) {
      samples.push(from + Math.floor(samples.length * step - before));
    }
    before += end - from;
  }
  return samples;
};

/** Refuses an image that has nothing in common with a snapshot without digests. */
export const checkLikeness = async (
  store: Store,
  snapshot: Snapshot,
  image: Image,
  options: RunOptions,
): Promise<void> => {
  const { geometry } = store;
  const size = imageSizeOf(store, snapshot);
  const whole = { size, window: { start: 0, end: size }, digests: undefined };
  const map = new SnapshotMap(store, snapshot, whole);
  const samples = samplesOf(map, Math.floor(Math.min(size, image.size) / geometry.clusterSize));
  const output = {
    output: { path: image.path, fd: image.fd },
    manner: 'update',
    shift: 0,
  } as const;
  if (samples.length === 0) return;
  let equal = false;
  for (const cluster of samples) {
    const start = cluster * geometry.clusterSize;
    await pour(
      {
        verb: 'compare',
        store,
        snapshot,
        digests: undefined,
        window: { start, end: start + geometry.clusterSize },
        output: { ...output, dryRun: true },
        zeros: () => {},
        delivered: (batch) => {
          equal ||= batch.has(Kind.same);
        },
      },
      { ...options, events: undefined },
    );
    if (equal) return;
  }
  throw fault('image-other', {
    image: image.path,
    store: store.path,
    made: 'by another program',
    size: image.size,
    parentSize: size,
  });
};

/** Bytes that are read, and nothing that is stored for them: the digests of zeros are zeros. */
const digestAll = async (
  store: Store,
  snapshot: Snapshot,
  builder: SnapshotBuilder,
  pools: Pools,
  options: RunOptions,
): Promise<void> => {
  const { clusterSize } = store.geometry;
  const plan = planReading({ store, snapshot, digests: undefined }, options, (crew) => [
    { name: 'unpack', main: unpack },
    stages.dedup(digestOptionsOf(store), crew('dedup', 1, true)),
  ]);
  const record = (batch: Batch): void => {
    const first = batch.offset / clusterSize;
    for (let i = 0; i < batch.count; i += 1) {
      // Zeros that were stored are so no more: one content has one digest.
      const isStored = batch.places[i] !== NOWHERE;
      if (isStored && batch.kinds[i] === Kind.zero) builder.zero(guestCluster(first + i));
    }
    builder.digests(guestCluster(first), batch.count, batch.digests, 0);
  };
  await run({
    ...plan,
    verb: `digest ${snapshot.entry.tag}`,
    pools,
    source: async function* (skip) {
      for await (const batch of plan.source(skip)) {
        // Against nothing: every cluster counts as changed.
        batch.known.fill(0xff, 0, batch.count * DIGEST_BYTES);
        yield batch;
      }
    },
    sink: record,
    events: options.events,
    signal: options.signal,
  });
};

/** A place that says: this cluster is not stored. */
const NOWHERE = -1;

/** What was decoded is content like any other; zeros are written out, to be digested as such. */
const unpack = (batch: Batch): void => {
  for (let i = 0; i < batch.count; i += 1) {
    if (batch.kinds[i] === Kind.zero) {
      batch.cluster(i).fill(0);
      batch.places[i] = NOWHERE;
    }
    batch.kinds[i] = Kind.plain;
  }
};

/** Gives a snapshot digests and a record. Resolves to the store as it is then. */
export const adoptSnapshot = async (
  target: WritableStore,
  snapshot: Snapshot,
  pools: Pools,
  options: RunOptions,
): Promise<{ target: WritableStore; snapshot: OwnSnapshot }> => {
  const { store } = target;
  refuseState(store, snapshot);
  const imageSize = imageSizeOf(store, snapshot);
  const diskSize = Math.max(imageSize, ...store.snapshots.map((s) => imageSizeOf(store, s)));
  const transaction = Transaction.begin(store);
  const digester = digesterOf(store);
  const disk = { l1: store.l1(snapshot.entry), imageSize };
  const { randomUUID } = await import('node:crypto');
  const uuid = randomUUID();
  const builder = new SnapshotBuilder(
    store,
    transaction,
    digester,
    { imageSize, diskSize },
    undefined,
    disk,
  );
  try {
    await digestAll(store, snapshot, builder, pools, options);
    const built = builder.finish();
    const record: SnapshotRecord = {
      uuid,
      parent: NIL_UUID,
      imageSize,
      digestL1: built.digestL1,
      root: built.root,
      storedClusters: 0,
      storedBytes: 0,
      tool: TOOL,
      dirty: 'adopted',
      epoch: '',
      image: '',
    };
    const entry = { ...snapshot.entry, vmStateBytes: built.vmStateBytes, diskSize: imageSize };
    await transaction.publish(
      store.snapshots.map((s) => (s === snapshot ? { entry, record, l1: built.l1 } : s)),
    );
  } catch (error) {
    transaction.abandon();
    throw error;
  }
  const after = Store.attach(store.file);
  const found = after.snapshots.find(({ record }) => record?.uuid === uuid);
  const own = found && asOwn(found);
  if (!own) throw new Error('the snapshot that was adopted is not there');
  return { target: { ...target, store: after }, snapshot: own };
};
