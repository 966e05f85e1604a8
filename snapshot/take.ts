// take: one snapshot of an image into a store.
//
//     image ─▶ scan ─▶ dedup ─▶ pad ─▶ compress ─▶ place ─▶ write ─▶ record, then commit

import fs from 'node:fs';
import { scanSource } from '../dirty/index.js';
import { Fault, ioFault, openDigester } from '../disk/index.js';
import { abortFault, Pools } from '../pipeline/index.js';
import type { OwnSnapshot } from '../qcow2/index.js';
import { adoptedFacts, adoptSnapshot, checkLikeness } from './adopt.js';
import { Draft } from './draft.js';
import { imageFeed } from './feed.js';
import { checkActive, checkLevel, chooseParent, refuseSameFile } from './guards.js';
import { type Image, openImage } from './image.js';
import { startTake, type TakeWork } from './line.js';
import { checkLineage } from './lineage.js';
import { checkTag, LATEST, NONE, tagFromTime } from './names.js';
import { batchBytesFor, checkThreadNames } from './plan.js';
import {
  asOwn,
  checkAsked,
  DEFAULT_CLUSTER_SIZE,
  DEFAULT_CODEC,
  openWritable,
  type WritableStore,
} from './store.js';
import type { TakeOptions, TakeResult } from './take-options.js';

export const TAKE_STAGES = ['scan', 'dedup', 'pad', 'compress', 'write'] as const;

/** Takes a snapshot. Rejects with a Fault, and then the store is as it was. */
export const take = async (options: TakeOptions): Promise<TakeResult> => {
  const began = performance.now();
  checkThreadNames(options.threads, TAKE_STAGES);
  refuseSameFile(options.image, options.store);
  if (options.tag !== undefined) checkTag(undefined, options.tag);
  checkAsked(options);
  const image = openImage(options.image, options.size);
  const pools = options.pools ?? new Pools();
  try {
    startTake(pools, expectedWork(options, image));
    const target = await openWritable(options.store, options, options.ioLog, adoptedFacts);
    try {
      return await takeInto({ options, image, target, pools, began });
    } catch (error) {
      if (target.created) fs.rmSync(options.store, { force: true });
      throw error;
    } finally {
      target.store.file.close();
    }
  } finally {
    if (pools !== options.pools) await pools.close();
    image.close();
  }
};

/** What there will be to do, as far as it can be seen before the store is open. */
const expectedWork = (options: TakeOptions, image: Image): TakeWork => {
  const { clusterSize = DEFAULT_CLUSTER_SIZE, compression = DEFAULT_CODEC, memory } = options;
  const dependent = options.parent !== NONE && fs.existsSync(options.store);
  const batchBytes = batchBytesFor(clusterSize, image.size, memory, dependent);
  return {
    mostlySame: dependent,
    codec: compression,
    seekable: image.seekable,
    bytes: image.allocatedBytes,
    batches: Math.ceil(image.size / batchBytes),
    threads: options.threads,
  };
};

/** All that one take has open. */
interface Job {
  readonly options: TakeOptions;
  readonly image: Image;
  readonly target: WritableStore;
  readonly pools: Pools;
  /** When it began, by performance.now(). */
  readonly began: number;
}

/** Where what reads and writes much waits until it is to be done. */
const turnOf = ({ turn }: TakeOptions): NonNullable<TakeOptions['turn']> =>
  turn ?? ((work) => work());

/** The parent, with digests: another program's is given some first. */
const withParent = async ({
  options,
  image,
  target,
  pools,
}: Job): Promise<{ target: WritableStore; parent: OwnSnapshot | undefined }> => {
  const chosen = chooseParent(target.store, options.parent ?? LATEST);
  if (!chosen) return { target, parent: undefined };
  const own = asOwn(chosen);
  if (own) return { target, parent: own };
  const checks = image.seekable && options.otherImage !== true;
  const adopted = await turnOf(options)(async () => {
    // Before anything is changed: the digests to compare with are not there yet.
    if (checks) await checkLikeness(target.store, chosen, image, { ...options, pools });
    return await adoptSnapshot(target, chosen, pools, options);
  });
  return { target: adopted.target, parent: adopted.snapshot };
};

const takeInto = async (job: Job): Promise<TakeResult> => {
  const { options, image, pools, began } = job;
  checkLevel(job.target.facts.codec, options.level);
  checkActive(job.target.store);
  const tag = options.tag ?? tagFromTime(job.target.store, new Date());
  checkTag(job.target.store, tag);
  const { target, parent } = await withParent(job);
  const { store, facts } = target;
  if (parent && !options.otherImage) {
    checkLineage(store, image, parent, openDigester(facts.digest, facts.seed));
  }
  const source = scanSource;
  const epoch = await source.begin(image, parent?.record.uuid);
  const { clusterSize } = store.geometry;
  let draft: Draft | undefined;
  const work = async (): Promise<TakeResult> => {
    if (options.signal?.aborted) throw abortFault(options.signal);
    const feed = imageFeed(image, clusterSize, parent && epoch.extents());
    draft = new Draft(options, feed, target, parent);
    const reports = await draft.run(pools);
    // Threads that nobody else wants end while the snapshot is committed.
    const ending = pools === options.pools ? undefined : pools.close();
    image.checkSize();
    options.released?.();
    if (options.signal?.aborted) throw abortFault(options.signal);
    // Loaded here, since before the run there is no time for it.
    const { randomUUID } = await import('node:crypto');
    const uuid = randomUUID();
    const entry = await draft.commit({
      tag,
      uuid,
      dirty: source.name,
      epoch: epoch.id,
      image: image.realPath,
    });
    await epoch.commit();
    await ending;
    const { counts } = draft;
    return {
      store: store.path,
      id: entry.id,
      tag: entry.tag,
      uuid,
      parent: parent?.entry.tag ?? null,
      imageBytes: image.size,
      readBytes: counts.readBytes,
      changedClusters: counts.stored + counts.twins + counts.zeroed,
      zeroedClusters: counts.zeroed,
      twinClusters: counts.twins,
      storedClusters: counts.stored,
      storedBytes: counts.storedBytes,
      metadataBytes: counts.metadataBytes,
      storeBytes: store.file.size(),
      elapsedMs: Math.round(performance.now() - began),
      stages: reports,
    };
  };
  try {
    return await turnOf(options)(work);
  } catch (error) {
    draft?.tidyUp();
    throw error instanceof Fault ? error : ioFault(error, store.path, 'write');
  } finally {
    await epoch.dispose();
  }
};
