// convert: all snapshots of a store, or some of them, into a new store with other clusters, another codec or
// another digest. What they share they go on sharing.

import fs from 'node:fs';
import { type DigestAlgorithm, Fault, fault, ioFault, modeAfter } from '../disk/index.js';
import { abortFault, type Pools } from '../pipeline/index.js';
import {
  type CodecName,
  MIN_NEW_CLUSTER_BITS,
  type OwnSnapshot,
  type Snapshot,
  Store,
} from '../qcow2/index.js';
import { Draft, type Identity } from './draft.js';
import { checkLevel, refuseSameFile } from './guards.js';
import { checkNameable, checkUuids, usableSnapshots } from './names.js';
import { givePartItsName, partOf, refuseExisting } from './part.js';
import { checkThreadNames, halfOf } from './plan.js';
import { KEYED_DIGEST, loadReversible, NO_STAGES, type StageOptions, unlock } from './plugged.js';
import { type RunOptions, withPools } from './run-options.js';
import { snapshotFeed } from './snapshot-feed.js';
import {
  asOwn,
  checkAsked,
  codecOf,
  DEFAULT_DIGEST,
  imageSizeOf,
  openWritable,
  type StoreSettings,
  type WritableStore,
  withStore,
} from './store.js';

export interface ConvertOptions extends RunOptions, StoreSettings, StageOptions {
  readonly store: string;
  /** Path of the store to make. */
  readonly output: string;
  /** Tags, "#id"s, uuid prefixes or "latest"; none for all. */
  readonly snapshots?: readonly string[] | undefined;
  /** True to write the copy without the stages that the store is read through. */
  readonly leaveStages?: boolean | undefined;
  /** Replace an existing file. */
  readonly force?: boolean | undefined;
  /** The new codec's own level. */
  readonly level?: number | undefined;
}

/** One snapshot as it is in the new store. Sizes in bytes. */
export interface ConvertedSnapshot {
  readonly id: string;
  readonly tag: string;
  readonly imageBytes: number;
  readonly storedClusters: number;
  readonly storedBytes: number;
}

/** What a conversion did. Sizes in bytes, times in milliseconds. */
export interface ConvertResult {
  readonly store: string;
  readonly output: string;
  readonly compression: string;
  readonly clusterSize: number;
  readonly snapshots: readonly ConvertedSnapshot[];
  /** False when some snapshot had no digests to hold its bytes against: another program made it. */
  readonly verified: boolean;
  /** Of the file that was read, and of the one that was made. */
  readonly storeBytes: number;
  readonly outputBytes: number;
  readonly elapsedMs: number;
}

export const CONVERT_STAGES = [
  'fetch',
  'decode',
  'verify',
  'dedup',
  'pad',
  'compress',
  'write',
] as const;

/** How the new store is made. */
interface Settings {
  readonly clusterSize: number;
  readonly compression: CodecName;
  /** Undefined: what suits its stages. */
  readonly digest: DigestAlgorithm | undefined;
}

/** True for a store that is written through reversible stages. */
const isStaged = ({ facts }: Store): boolean => (facts?.chain.length ?? 0) > 0;

/** The digest of the new store: as it was, unless stages come in that may have a key for another. */
const digestFor = (store: Store, { digest, stages = [] }: ConvertOptions): Settings['digest'] => {
  const before = store.facts?.digest ?? DEFAULT_DIGEST;
  const isNewlyKeyed = stages.length > 0 && !isStaged(store) && before !== KEYED_DIGEST;
  return digest ?? (isNewlyKeyed ? undefined : before);
};

/** What the new store is to be where nothing else is asked for: as the old one, but for everyone to read. */
const settingsFor = (store: Store, asked: ConvertOptions): Settings => {
  const codec = codecOf(store);
  return {
    clusterSize:
      asked.clusterSize ?? Math.max(2 ** MIN_NEW_CLUSTER_BITS, store.geometry.clusterSize),
    compression: asked.compression ?? (codec === 'lz4' ? 'zstd' : codec),
    digest: digestFor(store, asked),
  };
};

/** A snapshot of the old store that is in the new one already. */
interface Pair {
  readonly old: Snapshot;
  /** Which of the new store's snapshots it is there, from 0: neither ids nor uuids need be unique in a file. */
  readonly index: number;
}

/** The snapshot to build on, of those that are in the new store: the parent if it is there, else the last one. */
const baseOf = (snapshot: Snapshot, done: readonly Snapshot[]): Pair | undefined => {
  const parent = snapshot.record?.parent;
  const found = done.findIndex(({ record }) => record && record.uuid === parent);
  const index = found === -1 ? done.length - 1 : found;
  const old = done[index];
  return old && { old, index };
};

const identityOf = async ({ entry, record }: Snapshot): Promise<Identity> => {
  const { randomUUID } = await import('node:crypto');
  return {
    id: entry.id,
    tag: entry.tag,
    seconds: entry.seconds,
    nanoseconds: entry.nanoseconds,
    uuid: record?.uuid ?? randomUUID(),
    dirty: record?.dirty ?? 'convert',
    epoch: record?.epoch ?? '',
    image: record?.image ?? '',
    ...(record ? { tool: record.tool } : {}),
  };
};

/** What a snapshot of the old store has become. */
const madeOf = (store: Store, base: Pair | undefined): OwnSnapshot | undefined => {
  const found = base && store.snapshots[base.index];
  return found && asOwn(found);
};

/** A conversion while it runs. */
interface Job {
  readonly options: ConvertOptions;
  readonly from: Store;
  readonly target: WritableStore;
  readonly pools: Pools;
}

/** Makes one snapshot in the new store; what it shares with `base` it shares there too. */
const convertOne = async (
  { options, from, target, pools }: Job,
  snapshot: Snapshot,
  base: Pair | undefined,
  identity: Identity,
): Promise<ConvertedSnapshot> => {
  // The tables have changed with the snapshot before.
  const store = Store.attach(target.store.file);
  const source = { store: from, snapshot, base: base?.old, verb: `convert ${identity.tag}` };
  const feed = snapshotFeed(source, store.geometry.clusterSize, pools, options);
  const draft = new Draft(options, feed, { ...target, store }, madeOf(store, base));
  await draft.run(pools);
  if (options.signal?.aborted) throw abortFault(options.signal);
  const { id, tag } = await draft.commit(identity);
  const { stored, storedBytes } = draft.counts;
  const imageBytes = imageSizeOf(from, snapshot);
  return { id, tag, imageBytes, storedClusters: stored, storedBytes };
};

const convertAll = async (job: Job, chosen: readonly Snapshot[]): Promise<ConvertedSnapshot[]> => {
  const done: Snapshot[] = [];
  const converted: ConvertedSnapshot[] = [];
  for (const snapshot of chosen) {
    const identity = await identityOf(snapshot);
    converted.push(await convertOne(job, snapshot, baseOf(snapshot, done), identity));
    done.push(snapshot);
  }
  return converted;
};

/** The snapshots asked for, oldest first. */
const choose = (store: Store, asked: readonly string[]): readonly Snapshot[] => {
  const chosen = usableSnapshots(store, asked);
  checkUuids(store, chosen);
  for (const snapshot of chosen) checkNameable(store, snapshot);
  if (chosen.length > 0) return chosen;
  throw fault('usage', {
    problem: `${store.path} holds no snapshot to convert.`,
    advice: 'Take one first, or make one with "qemu-img snapshot -c NAME".',
  });
};

const convertFrom = async (
  from: Store,
  options: ConvertOptions,
  began: number,
): Promise<ConvertResult> => {
  const chosen = choose(from, options.snapshots ?? []);
  const settings = settingsFor(from, options);
  checkLevel(settings.compression, options.level);
  const part = partOf(options.output);
  const plug = options.leaveStages ? NO_STAGES : await loadReversible(options);
  const target = await openWritable(part, {
    ...settings,
    plug,
    mode: modeAfter(from.file.mode()),
  });
  try {
    const snapshots = await withPools(options, (pools) =>
      convertAll(
        { options: { ...options, memory: halfOf(options.memory) }, from, target, pools },
        chosen,
      ),
    );
    const outputBytes = target.store.file.size();
    givePartItsName(part, options.output, options.force ?? false);
    return {
      store: options.store,
      output: options.output,
      compression: settings.compression,
      clusterSize: settings.clusterSize,
      snapshots,
      verified: chosen.every(({ record }) => record !== undefined),
      storeBytes: from.file.size(),
      outputBytes,
      elapsedMs: Math.round(performance.now() - began),
    };
  } catch (error) {
    fs.rmSync(part, { force: true });
    throw error instanceof Fault ? error : ioFault(error, options.output, 'write');
  } finally {
    target.store.file.close();
  }
};

/** Converts a store. Rejects with a Fault, and then leaves no output behind. */
export const convert = async (options: ConvertOptions): Promise<ConvertResult> => {
  const began = performance.now();
  checkThreadNames(options.threads, CONVERT_STAGES);
  checkAsked(options);
  refuseSameFile(options.output, options.store);
  refuseExisting(options.output, options.force ?? false);
  const existing = fs.statSync(options.output, { throwIfNoEntry: false });
  if (existing && !existing.isFile()) {
    throw fault('output-unsuitable', { path: options.output, reason: 'it is not a regular file' });
  }
  return withStore(options.store, async (from) => {
    // Of a store without stages, those that are given are for the copy.
    if (isStaged(from)) await unlock(from, options);
    return convertFrom(from, options, began);
  });
};
