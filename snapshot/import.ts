// import: a snapshot out of a stream, on top of the one it was exported since.
//
//     (stream) ─▶ decode ─▶ verify ─▶ recut ─▶ dedup ─▶ pad ─▶ compress ─▶ place ─▶ write ─▶ record, then commit

import fs from 'node:fs';
import { Fault, fault, ioFault } from '../disk/index.js';
import { abortFault, type Pools } from '../pipeline/index.js';
import type { OwnSnapshot, Store } from '../qcow2/index.js';
import { Draft } from './draft.js';
import { checkActive, checkLevel } from './guards.js';
import { checkTag, checkUuids, withUuid } from './names.js';
import { checkThreadNames, halfOf } from './plan.js';
import { loadReversible, type StageOptions } from './plugged.js';
import { type RunOptions, withPools } from './run-options.js';
import {
  asOwn,
  checkAsked,
  openWritable,
  type StoreSettings,
  type WritableStore,
} from './store.js';
import { decodeHeader, type StreamHeader, streamFault } from './stream.js';
import { StreamFeed } from './stream-feed.js';
import { StreamReader } from './stream-reader.js';

export interface ImportOptions extends RunOptions, StoreSettings, StageOptions {
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

/** The snapshot that the stream builds on; it must be there, in clusters of the same size. */
const parentOf = (store: Store, header: StreamHeader): OwnSnapshot | undefined => {
  const { path, geometry } = store;
  const [present] = withUuid(store, header.uuid);
  if (present) throw fault('snapshot-present', { store: path, tag: present.entry.tag });
  if (header.parent === null) return undefined;
  const parents = withUuid(store, header.parent);
  checkUuids(store, parents);
  const [found] = parents;
  if (found?.damage) throw found.damage();
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
    draft.abandon();
    throw error instanceof Fault ? error : ioFault(error, store.path, 'write');
  }
};

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
  const plug = await loadReversible(options);
  const made = fs.existsSync(options.store)
    ? { ...options, plug }
    : { ...options, plug, clusterSize: options.clusterSize ?? header.clusterSize };
  const target = await openWritable(options.store, made, options.ioLog);
  try {
    return await withPools(options, (pools) => {
      const half = { ...options, memory: halfOf(options.memory) };
      const feed = new StreamFeed(reader, header, pools, half);
      return importInto(target, feed, header, pools, half, began);
    });
  } catch (error) {
    if (target.created) fs.rmSync(options.store, { force: true });
    throw error;
  } finally {
    target.store.file.close();
  }
};
