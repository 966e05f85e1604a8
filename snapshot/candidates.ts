// What a take has to look at: what its dirty source names, if the source knows and an audit bears it out; else
// everything. Which of the two, and why, is said aloud.

import type { Changes, DirtySource, Epoch, Since, TrackedImage } from '../dirty/index.js';
import {
  alignExtents,
  type Extent,
  Fault,
  fault,
  reasonOf,
  subtractExtents,
  unionExtents,
} from '../disk/index.js';
import type { RunEmitter } from '../pipeline/index.js';
import type { OwnSnapshot } from '../qcow2/index.js';
import { type Audit, audit } from './audit.js';
import type { Candidates } from './feed.js';
import { type Image, wholeOf } from './image.js';
import { bytesIn } from './reading.js';
import type { RunOptions } from './run-options.js';
import { digestsOf, type WritableStore } from './store.js';

/** Percent of what a source calls clean that are read all the same, unless another share is asked for. */
const DEFAULT_AUDIT_PERCENT = 1;

const TWO_32 = 2 ** 32;

/** How far a take followed its dirty source. Sizes in bytes. */
export interface DirtyReport {
  readonly source: string;
  readonly certainty: 'exact' | 'superset';
  /** Why everything was looked at all the same; null when the source was believed, or there is no parent. */
  readonly fallback: string | null;
  /** What was looked at, in whole clusters. */
  readonly candidateBytes: number;
  /** Null when nothing was audited. */
  readonly audit: Audit | null;
}

/** How a source is to be judged. */
export interface AuditOptions {
  /** Percent of the clusters that the source calls clean, at least 64; 0 for none. Default 1. */
  readonly audit?: number | undefined;
  /** A number below 2^32: the same seed reads the same clusters. Default: a random one. */
  readonly auditSeed?: number | undefined;
}

/** Refuses a share or a seed that is none. */
export const checkAudit = ({ audit: percent, auditSeed }: AuditOptions): void => {
  if (percent !== undefined && !(percent >= 0 && percent <= 100)) {
    throw fault('usage', {
      problem: `${percent} is not a share in percent.`,
      advice: 'Give 0 (for none) to 100.',
    });
  }
  if (auditSeed === undefined) return;
  if (Number.isInteger(auditSeed) && auditSeed >= 0 && auditSeed < TWO_32) return;
  throw fault('usage', {
    problem: `${auditSeed} is not a seed.`,
    advice: 'Give a whole number from 0 to 4294967295.',
  });
};

/** A parent as dirty sources see it. */
export const sinceOf = ({ entry, record }: OwnSnapshot): Since => ({
  uuid: record.uuid,
  epoch: record.epoch,
  takenAt: entry.seconds * 1000 + entry.nanoseconds / 1e6,
  imageSize: record.imageSize,
});

/** Lets a source draw its line; what it throws that is no fault becomes one. */
export const beginEpoch = async (
  source: DirtySource,
  image: TrackedImage,
  parent: OwnSnapshot | undefined,
  store: string,
): Promise<Epoch> => {
  try {
    return await source.begin(image, parent && sinceOf(parent), store);
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw fault('dirty-unsuitable', { source: source.name, problem: reasonOf(error) }, error);
  }
};

/** The extents that a source names, or the end of a sentence that says why they cannot be believed. */
const extentsOf = (changes: Changes, size: number): readonly Extent[] | string => {
  if (!changes.known) return changes.reason;
  const extents: Extent[] = [];
  let at = 0;
  for (const extent of changes.extents()) {
    if (!(extent.start >= at && extent.end > extent.start && extent.end <= size)) {
      return `it named a range out of order or outside the image (${extent.start} to ${extent.end})`;
    }
    extents.push(extent);
    at = extent.end;
  }
  return extents;
};

/** What lies past the shorter of two images, and the byte before: there a cluster ends elsewhere now. */
const border = (size: number, parentSize: number): Extent[] => {
  if (size === parentSize) return [];
  const shorter = Math.min(size, parentSize);
  return size === 0 ? [] : [{ start: Math.max(0, shorter - 1), end: size }];
};

/** What is judged, for whom. */
export interface Judging {
  readonly source: DirtySource;
  readonly epoch: Epoch;
  /** What will be read: the image, or a frozen copy of it. */
  readonly image: Image;
  readonly target: WritableStore;
  readonly parent: OwnSnapshot | undefined;
  /** Hears how many bytes the source names, before it is audited, and whether most are expected to be the parent's. */
  named?(bytes: number, mostlySame: boolean): void;
}

const announce = (events: RunEmitter | undefined, sentence: string): void => {
  events?.emit('notice', sentence);
};

/** Decides what is looked at. */
export const judge = async (
  judging: Judging,
  options: RunOptions & AuditOptions,
): Promise<{ readonly candidates: Candidates | undefined; readonly report: DirtyReport }> => {
  const { source, epoch, image, target, parent } = judging;
  const { name, certainty } = source;
  const { size } = image;
  const whole = wholeOf(size);
  const report = { source: name, certainty, fallback: null, candidateBytes: size, audit: null };
  if (!parent) return { candidates: undefined, report };
  const all: Candidates = { extents: whole, mostlySame: true };
  const named = extentsOf(epoch.changes, size);
  const onlyChanges = epoch.frozen?.onlyChanges === true;
  if (typeof named === 'string') {
    if (onlyChanges) throw fault('changes-unsuitable', { path: image.path, problem: named });
    announce(options.events, `The whole image is read: ${name} does not help, since ${named}.`);
    return { candidates: all, report: { ...report, fallback: named } };
  }
  const { clusterSize } = target.store.geometry;
  const changed = unionExtents(named, border(size, parent.record.imageSize));
  const extents = [...alignExtents(changed, clusterSize, size)];
  // Where only changes are there to be read, nothing is to be held against them.
  const percent = onlyChanges ? 0 : (options.audit ?? DEFAULT_AUDIT_PERCENT);
  const clean = [...subtractExtents(whole, extents)];
  const digests = percent > 0 && clean.length > 0 && digestsOf(target.store, parent);
  const candidates = { extents, mostlySame: certainty !== 'exact' };
  const candidateBytes = bytesIn(extents);
  judging.named?.(candidateBytes, candidates.mostlySame);
  if (!digests) return { candidates, report: { ...report, candidateBytes } };
  const seed = options.auditSeed ?? Math.floor(Math.random() * TWO_32);
  const found = await audit({ image, target, clusterSize, digests, clean, percent, seed }, options);
  if (found.missed === 0) {
    return { candidates, report: { ...report, candidateBytes, audit: found } };
  }
  const fallback =
    `it missed changes: ${found.missed} of ${found.clusters} clusters that it calls clean have changed, ` +
    `the first at offset ${found.firstMissed} (audit seed ${seed})`;
  announce(options.events, `The whole image is read: ${name} is not believed, since ${fallback}.`);
  return { candidates: all, report: { ...report, fallback, audit: found } };
};
