// A point as a job of a jobs file: taken with what its run shares, and pruned by the file's policy.

import { type Failure, failureOf, type MachineRunner } from '../bulk/index.js';
import { applyPolicy, type KeepPolicy } from '../snapshot/index.js';
import { createMachineEmitter, ProgressSum } from './events.js';
import { listPoints, removePoints } from './keep.js';
import { takePoint } from './take.js';

/** Removes the points that a policy does not keep; resolves to how many. Those that are not whole stay, and count not. */
export const prunePoints = async (
  stores: string,
  keep: KeepPolicy,
  onNotice?: (sentence: string) => void,
): Promise<number> => {
  const points = (await listPoints({ stores })).flatMap(({ tag, manifest }) =>
    manifest ? [{ tag, date: new Date(manifest.takenAt) }] : [],
  );
  const newest = points.reverse().sort((a, b) => +b.date - +a.date);
  const rules = applyPolicy(
    keep,
    newest.map(({ date }) => date),
  );
  const tags = newest.filter((_, i) => rules[i]?.length === 0).map(({ tag }) => tag);
  if (tags.length > 0) await removePoints({ stores, tags, onNotice });
  return tags.length;
};

const pruneAfter = async (
  stores: string,
  keep: KeepPolicy | undefined,
  onNotice: (sentence: string) => void,
): Promise<{ pruned: number | null; pruneError: Failure | null }> => {
  if (!keep) return { pruned: null, pruneError: null };
  try {
    return { pruned: await prunePoints(stores, keep, onNotice), pruneError: null };
  } catch (error) {
    return { pruned: null, pruneError: failureOf(error) };
  }
};

/** For `runBulk` and `watchJobs`. */
export const machineRunner: MachineRunner = async (job, about) => {
  const { qmp, stores, tag, state, freeze, dirty, whilePaused, maxPauseMs, options } = job;
  const { folder, memory, pools, signal, keep, onProgress, onNotice, released } = about;
  const events = createMachineEmitter();
  const sum = new ProgressSum();
  events.on('progress', (region, progress) => onProgress(sum.add(region, progress)));
  events.on('notice', onNotice);
  // Where there is no pause, all is read while others are at work.
  events.on('step', (step) => {
    if (step === 'reading') released();
  });
  const point = await takePoint({
    ...options,
    ...{ qmp, stores, tag, state, freeze, dirty, whilePaused, maxPauseMs },
    ...{ folder, memory, pools, signal, events },
  });
  const imageBytes = point.regions.reduce((total, region) => total + region.imageBytes, 0);
  return { result: { ...point, imageBytes }, ...(await pruneAfter(stores, keep, onNotice)) };
};
