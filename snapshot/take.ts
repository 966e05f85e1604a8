// take: one snapshot of an image into a store.
//
//     image ─▶ scan ─▶ dedup ─▶ pad ─▶ compress ─▶ place ─▶ write ─▶ record, then commit

import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { scanSource } from '../dirty/index.js';
import { Fault, ioFault } from '../disk/index.js';
import { abortFault } from '../pipeline/index.js';
import { Draft } from './draft.js';
import { checkActive, checkLevel, chooseParent, refuseSameFile } from './guards.js';
import { type Image, openImage } from './image.js';
import { checkTag, LATEST, tagFromTime } from './names.js';
import { checkThreadNames } from './plan.js';
import { openWritable, type WritableStore } from './store.js';
import type { TakeOptions, TakeResult } from './take-options.js';

export const TAKE_STAGES = ['scan', 'dedup', 'pad', 'compress', 'write'] as const;

/** Takes a snapshot. Rejects with a Fault, and then the store is as it was. */
export const take = async (options: TakeOptions): Promise<TakeResult> => {
  const began = performance.now();
  checkThreadNames(options.threads, TAKE_STAGES);
  refuseSameFile(options.image, options.store);
  if (options.tag !== undefined) checkTag(undefined, options.tag);
  const image = openImage(options.image, options.size);
  try {
    const target = await openWritable(options.store, options, options.ioLog);
    try {
      return await takeInto(options, image, target, began);
    } catch (error) {
      if (target.created) fs.rmSync(options.store, { force: true });
      throw error;
    } finally {
      target.store.file.close();
    }
  } finally {
    image.close();
  }
};

/** Gives back what a failed take has used; failing at that must not hide why it failed. */
const tidyUp = (job: Draft): void => {
  try {
    job.abandon();
  } catch {
    // The store is whole as it is; the space is used again by the next take.
  }
};

const takeInto = async (
  options: TakeOptions,
  image: Image,
  target: WritableStore,
  began: number,
): Promise<TakeResult> => {
  const { store, facts } = target;
  checkLevel(facts.codec, options.level);
  checkActive(store);
  const tag = options.tag ?? tagFromTime(store, new Date());
  checkTag(store, tag);
  const parent = chooseParent(store, options.parent ?? LATEST);
  const job = new Draft(options, image, target, parent);
  const source = scanSource;
  const epoch = await source.begin(image, parent?.record.uuid);
  try {
    const reports = await job.run(epoch);
    image.checkSize();
    if (options.signal?.aborted) throw abortFault(options.signal);
    const uuid = randomUUID();
    const entry = await job.commit({ tag, uuid, source, epoch });
    await epoch.commit();
    return job.result({ entry, uuid, elapsedMs: performance.now() - began, stages: reports });
  } catch (error) {
    tidyUp(job);
    throw error instanceof Fault ? error : ioFault(error, store.path, 'write');
  } finally {
    await epoch.dispose();
  }
};
