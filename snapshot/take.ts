// take: one snapshot of an image into a store.
//
//     image ─▶ scan ─▶ dedup ─▶ pad ─▶ compress ─▶ place ─▶ write ─▶ record, then commit

import fs from 'node:fs';
import { type DirtySource, type Epoch, scanSource } from '../dirty/index.js';
import { Fault, ioFault, modeAfter, reasonOf } from '../disk/index.js';
import { abortFault, Pools } from '../pipeline/index.js';
import type { CodecName, OwnSnapshot, Snapshot } from '../qcow2/index.js';
import { isLight } from '../stages/index.js';
import { adoptedFacts, adoptSnapshot, checkLikeness } from './adopt.js';
import { beginEpoch, checkAudit, judge } from './candidates.js';
import { Draft } from './draft.js';
import { imageFeed } from './feed.js';
import { checkActive, checkDedup, checkLevel, chooseParent, refuseSameFile } from './guards.js';
import { frozenImage, type Image, openImage } from './image.js';
import { startTake, type TakeWork } from './line.js';
import { checkLineage } from './lineage.js';
import { checkTag, LATEST, NONE, tagFromTime } from './names.js';
import { overlayImage } from './overlay.js';
import { checkThreadNames, cutFor } from './plan.js';
import { digesterOf, loadAsked } from './plugged.js';
import { loadSource } from './sources.js';
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
  const plug = await loadAsked(options);
  checkThreadNames(options.threads, [...TAKE_STAGES, ...plug.loaded.map(({ name }) => name)]);
  refuseSameFile(options.image, options.store);
  if (options.tag !== undefined) checkTag(undefined, options.tag);
  checkAsked(options);
  checkDedup(options.dedup);
  checkAudit(options);
  const source = await sourceOf(options);
  const image = openImage(options.image, options.size);
  const pools = options.pools ?? new Pools();
  try {
    // What a source names is not known before the store is open: likely it is little.
    // Nor are the threads of stages that share them.
    const known = source === scanSource && !plug.loaded.some(isLight);
    const alone = plug.loaded.every(({ definition }) => definition.reversible);
    if (known) startTake(pools, expectedWork(options, image, alone));
    const target = await openWritable(
      options.store,
      { ...options, plug, mode: modeAfter(image.mode) },
      options.ioLog,
      adoptedFacts,
    );
    try {
      return await takeInto({ options, image, source, target, pools, began });
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

const sourceOf = async ({ dirty = scanSource }: TakeOptions): Promise<DirtySource> =>
  typeof dirty === 'string' || 'spec' in dirty ? loadSource(dirty) : dirty;

/**
 * What there will be to do, as far as it can be seen before the store is open. `alone`: no stage of a user's will be in
 * the line.
 */
const expectedWork = (options: TakeOptions, image: Image, alone: boolean): TakeWork => {
  const { clusterSize = DEFAULT_CLUSTER_SIZE, compression: codec = DEFAULT_CODEC } = options;
  const dependent = options.parent !== NONE && fs.existsSync(options.store);
  const candidates = { bytes: image.allocatedBytes, mostlySame: dependent };
  return workOn(image, { ...candidates, clusterSize, codec, spans: dependent && alone }, options);
};

/** What there will be to do, of an image of which `bytes` are to be read. */
const workOn = (
  { size, seekable }: Image,
  what: {
    readonly bytes: number;
    readonly mostlySame: boolean;
    readonly clusterSize: number;
    readonly codec: CodecName;
    readonly spans: boolean;
  },
  { memory, threads }: TakeOptions,
): TakeWork => {
  const { clusterSize, codec, mostlySame, bytes } = what;
  const light = mostlySame || codec === 'none';
  const { reach } = cutFor(clusterSize, size, memory, {
    spans: what.spans && seekable,
    light,
    bytes,
  });
  return { mostlySame, codec, seekable, bytes, batches: Math.ceil(size / reach), threads };
};

/** All that one take has open. */
interface Job {
  readonly options: TakeOptions;
  readonly image: Image;
  readonly source: DirtySource;
  readonly target: WritableStore;
  readonly pools: Pools;
  /** When it began, by performance.now(). */
  readonly began: number;
}

/** Where what reads and writes much waits until it is to be done. */
const turnOf = ({ turn }: TakeOptions): NonNullable<TakeOptions['turn']> =>
  turn ?? ((work) => work());

/** Another program's snapshot, with digests, and the store as it is then. */
const adopt = async (
  { options, image, target, pools }: Job,
  chosen: Snapshot,
): Promise<{ target: WritableStore; parent: OwnSnapshot }> => {
  const checks = image.seekable && options.otherImage !== true;
  const adopted = await turnOf(options)(async () => {
    // Before anything is changed: the digests to compare with are not there yet.
    if (checks) await checkLikeness(target.store, chosen, image, { ...options, pools });
    return await adoptSnapshot(target, chosen, pools, options);
  });
  return { target: adopted.target, parent: adopted.snapshot };
};

/** True when the image may change while it is taken. */
const isFrozen = ({ frozen }: Epoch): boolean => frozen?.onlyChanges === false;

/** What is read: the image, or what its dirty source has frozen of it. */
const readingImage = async (
  { image, pools, options }: Job,
  { frozen }: Epoch,
  target: WritableStore,
  parent: OwnSnapshot | undefined,
): Promise<Image> => {
  if (!frozen) return image;
  const copy = frozenImage(image, frozen);
  if (!frozen.onlyChanges) return copy;
  if (!parent) throw new Error('a source froze only changes, although there is no parent');
  return overlayImage({ image: copy, store: target.store, parent }, { ...options, pools });
};

const takeInto = async (job: Job): Promise<TakeResult> => {
  const { options, image, source } = job;
  checkLevel(job.target.facts.codec, options.level);
  checkActive(job.target.store);
  const tag = options.tag ?? tagFromTime(job.target.store, new Date());
  checkTag(job.target.store, tag);
  const chosen = chooseParent(job.target.store, options.parent ?? LATEST);
  const own = chosen && asOwn(chosen);
  await options.ready?.();
  const stilled = options.ready !== undefined;
  // What the source refuses must be known before anything is changed; no line of it counts from another program's.
  const epoch = await beginEpoch(source, { ...image, stilled }, own, job.target.facts.uuid);
  try {
    if (isFrozen(epoch)) options.released?.();
    const foreign = own ? undefined : chosen;
    const { target, parent } = foreign
      ? await adopt(job, foreign)
      : { target: job.target, parent: own };
    const drawn: DrawnJob = { ...job, target, tag, epoch };
    return await turnOf(options)(() => takeDrawn(drawn, parent));
  } finally {
    await epoch.dispose();
  }
};

/** A job whose line is drawn. */
interface DrawnJob extends Job {
  readonly tag: string;
  readonly epoch: Epoch;
}

const takeDrawn = async (job: DrawnJob, parent: OwnSnapshot | undefined): Promise<TakeResult> => {
  const { options, image, target, epoch } = job;
  const { store } = target;
  if (options.signal?.aborted) throw abortFault(options.signal);
  const reading = await readingImage(job, epoch, target, parent);
  try {
    // Of an image of which a stage changes the content, nothing need be in the parent as it is.
    const comparable = !target.line.changes && epoch.frozen?.onlyChanges !== true;
    if (parent && !options.otherImage && comparable) {
      checkLineage(store, reading, parent, digesterOf(store));
    }
    return await takeFrom(reading, job, parent);
  } finally {
    if (reading !== image) reading.close();
  }
};

/** The snapshot is there whatever becomes of its line: without one, the next take reads everything. */
const keepLine = async ({ options, source, epoch }: DrawnJob, uuid: string): Promise<void> => {
  try {
    await epoch.commit(uuid);
  } catch (error) {
    const sentence = `The next take will read the whole image, since ${source.name} could not keep its line: ${reasonOf(error)}`;
    options.events?.emit('notice', sentence);
  }
};

/** Takes what is read from `reading`, in the image's place. */
const takeFrom = async (
  reading: Image,
  job: DrawnJob,
  parent: OwnSnapshot | undefined,
): Promise<TakeResult> => {
  const { options, image, source, target, pools, tag, epoch } = job;
  const { store } = target;
  const { clusterSize } = store.geometry;
  const { codec } = target.facts;
  const judging = {
    source,
    epoch,
    image: reading,
    target,
    parent,
    named: (bytes: number, mostlySame: boolean): void => {
      // The threads of stages that share them with a user's are not known yet.
      if (target.line.names.length > 0) return;
      const what = { bytes, mostlySame, clusterSize, codec, spans: true };
      startTake(pools, workOn(reading, what, options));
    },
  };
  const { candidates, report } = await judge(judging, { ...options, pools });
  let draft: Draft | undefined;
  try {
    const feed = imageFeed(reading, clusterSize, candidates);
    draft = new Draft(options, feed, target, parent);
    const reports = await draft.run(pools);
    // A stage that cannot say what it has found fails the take, as long as nothing is published.
    const summaries = target.line.conclude(reports);
    // Threads that nobody else wants end while the snapshot is committed.
    const ending = pools === options.pools ? undefined : pools.close();
    reading.checkSize();
    if (!isFrozen(epoch)) options.released?.();
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
    await keepLine(job, uuid);
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
      dirty: report,
      changedClusters: counts.stored + counts.twins + counts.zeroed,
      zeroedClusters: counts.zeroed,
      twinClusters: counts.twins,
      storedClusters: counts.stored,
      storedBytes: counts.storedBytes,
      metadataBytes: counts.metadataBytes,
      storeBytes: store.file.size(),
      elapsedMs: Math.round(performance.now() - job.began),
      stages: reports,
      summaries,
    };
  } catch (error) {
    draft?.abandon();
    throw error instanceof Fault ? error : ioFault(error, store.path, 'write');
  }
};
