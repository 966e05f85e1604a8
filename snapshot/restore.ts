// restore: any snapshot back to a file or device, whatever came before or after it.
//
//     map ─▶ fetch ─▶ decode ─▶ verify ─▶ deliver
//
// In place, where the output is a copy that is to be brought up to date, only what differs is fetched:
//
//     copy ─▶ scan ─▶ dedup ─▶ locate ─▶ fetch ─▶ decode ─▶ verify ─▶ deliver

import { type Extent, fault, modeAfter } from '../disk/index.js';
import { abortFault, type StageReport } from '../pipeline/index.js';
import type { Snapshot, Store } from '../qcow2/index.js';
import { compareIn } from './compare.js';
import { refuseSameFile } from './guards.js';
import { IN_PLACE_STAGES, updateFrom } from './in-place.js';
import { usableSnapshot } from './names.js';
import { type Output, openOutput, STDOUT } from './output.js';
import { checkThreadNames } from './plan.js';
import { type StageOptions, unlock } from './plugged.js';
import { liveBytes, pour } from './pour.js';
import { checkRangesPath, type Range, RangeBag, type Ranges, writeRanges } from './ranges.js';
import type { RunOptions } from './run-options.js';
import { digestsOf, imageSizeOf, withStore } from './store.js';

export interface RestoreOptions extends RunOptions, StageOptions {
  readonly store: string;
  /** A tag, "#id", uuid prefix or "latest". */
  readonly snapshot: string;
  /** Path of the file to make, or of a block device; "-" for standard output. */
  readonly output: string;
  /** Replace an existing file, or write to a block device. */
  readonly force?: boolean | undefined;
  /** Only these bytes of the image. The output gets them alone; in place, where they belong. */
  readonly range?: Range | undefined;
  /** The output is a copy of the image: write only what differs. */
  readonly inPlace?: boolean | undefined;
  /** With `inPlace`: only find out how much differs. */
  readonly dryRun?: boolean | undefined;
  /** Go on past damage, and write a list of it beside the output (OUTPUT.bad-ranges). */
  readonly skipDamaged?: boolean | undefined;
}

/** What a restore did. Sizes in bytes, times in milliseconds. */
export interface RestoreResult {
  readonly store: string;
  readonly id: string;
  readonly tag: string;
  readonly output: string;
  /** Size of the whole image. */
  readonly imageBytes: number;
  /** The image bytes asked for. */
  readonly range: Range;
  /** Of these, the ones that were stored; the rest read as zeros. In place: those that were fetched. */
  readonly dataBytes: number;
  /** In place: bytes that differed (whole clusters in a dry run); else null. */
  readonly changedBytes: number | null;
  /** True when nothing was written. */
  readonly dryRun: boolean;
  /** False when the snapshot has no digests to hold its bytes against: another program made it. */
  readonly verified: boolean;
  /** Image bytes that are damaged and were left out, where they are, and the file that lists them. */
  readonly badBytes: number;
  readonly badRanges: readonly Range[];
  readonly badList: string | null;
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
}

export const RESTORE_STAGES = IN_PLACE_STAGES;

const refuse = (problem: string, advice: string): never => {
  throw fault('usage', { problem, advice });
};

const checkOptions = ({ output, inPlace, dryRun, skipDamaged, range }: RestoreOptions): void => {
  if (inPlace && output === STDOUT) {
    refuse(
      'Standard output cannot be brought up to date in place.',
      'Name a file or block device.',
    );
  }
  if (dryRun && !inPlace) refuse('--dry-run goes with --in-place.', 'Add --in-place.');
  if (dryRun && (range || skipDamaged)) {
    refuse('--dry-run looks at the whole image.', 'Leave --range and --skip-damaged out.');
  }
};

/** The image bytes that are wanted, which must be there. */
const windowOf = (range: Range | undefined, size: number): Extent => {
  if (!range) return { start: 0, end: size };
  const { start, length } = range;
  const end = start + length;
  if (!Number.isSafeInteger(end) || start < 0 || length < 1 || end > size) {
    refuse(
      `The range ${start}:${length} is not within the image, which has ${size} bytes.`,
      'Give START:LENGTH in bytes, as in 1M:64K.',
    );
  }
  return { start, end };
};

/** A restore while it runs. */
interface Job {
  readonly options: RestoreOptions;
  readonly store: Store;
  readonly snapshot: Snapshot;
  readonly window: Extent;
  readonly output: Output;
  readonly bad: RangeBag | undefined;
}

type Moved = Pick<RestoreResult, 'dataBytes' | 'changedBytes' | 'verified' | 'stages'>;

/** Moves the bytes to an open output. */
const move = async (job: Job): Promise<Moved> => {
  const { options, store, snapshot, window, output, bad } = job;
  const digests = digestsOf(store, snapshot);
  const verified = digests !== undefined;
  if (!verified) {
    options.events?.emit(
      'notice',
      'This snapshot was made by another program and has no digests: its bytes cannot be verified.',
    );
  }
  if (output.manner === 'update' && digests && store.facts) {
    const update = { ...job, facts: store.facts, digests };
    const { changedBytes, stages } = await updateFrom(update, options);
    return { dataBytes: changedBytes, changedBytes, verified, stages };
  }
  let changedBytes = 0;
  const { spec, manner, shift } = output;
  const { zeroBytes, stages } = await pour(
    {
      verb: 'restore',
      store,
      snapshot,
      digests,
      window,
      output: { output: spec, manner, shift },
      bad,
      begin: () => output.begin(),
      zeros: async (range) => {
        changedBytes += await output.zeros(range);
      },
      delivered: (batch) => {
        changedBytes += liveBytes(batch, window);
      },
    },
    options,
  );
  return {
    dataBytes: window.end - window.start - zeroBytes,
    changedBytes: manner === 'update' ? changedBytes : null,
    verified,
    stages,
  };
};

/** What is true of a restore before anything is read. */
type Preface = Pick<RestoreResult, 'store' | 'id' | 'tag' | 'output' | 'imageBytes' | 'range'>;

const prefaceOf = (
  store: Store,
  { entry, record }: Snapshot,
  options: RestoreOptions,
  window: Extent,
): Preface => ({
  store: options.store,
  id: entry.id,
  tag: entry.tag,
  output: options.output,
  imageBytes: imageSizeOf(store, { entry, record }),
  range: { start: window.start, length: window.end - window.start },
});

/** Says what an update in place would change. */
const foretell = async (
  store: Store,
  snapshot: Snapshot,
  options: RestoreOptions,
): Promise<Omit<RestoreResult, keyof Preface | 'elapsedMs'>> => {
  const { differentBytes, stages } = await compareIn(store, snapshot, {
    ...options,
    image: options.output,
  });
  return {
    dataBytes: differentBytes,
    changedBytes: differentBytes,
    dryRun: true,
    verified: false,
    badBytes: 0,
    badRanges: [],
    badList: null,
    stages,
  };
};

/** Where a list of what is damaged goes; null where there is no place for one. */
const listPath = ({ output, skipDamaged }: RestoreOptions): string | null =>
  skipDamaged && output !== STDOUT ? `${output}.bad-ranges` : null;

/** Writes the list of what is damaged; returns its path, null when nothing is. */
const listDamage = (
  { options, snapshot }: Pick<Job, 'options' | 'snapshot'>,
  ranges: Ranges,
): string | null => {
  if (ranges.count === 0) return null;
  const path = listPath(options);
  if (path) writeRanges(path, `${snapshot.entry.tag} of ${options.store}, damaged`, ranges.kept);
  return path;
};

/** Restores what is wanted. */
const restoreWindow = async (
  job: Omit<Job, 'output' | 'bad'>,
): Promise<Omit<RestoreResult, keyof Preface | 'elapsedMs'>> => {
  const { options, store, snapshot, window } = job;
  const output = openOutput({
    path: options.output,
    window,
    imageBytes: imageSizeOf(store, snapshot),
    force: options.force ?? false,
    inPlace: options.inPlace ?? false,
    mode: modeAfter(store.file.mode()),
  });
  const bad = options.skipDamaged ? new RangeBag() : undefined;
  try {
    const moved = await move({ ...job, output, bad });
    const found = (bad ?? new RangeBag()).sorted(Number.POSITIVE_INFINITY);
    await output.settle();
    if (job.options.signal?.aborted) throw abortFault(job.options.signal);
    output.finish();
    return {
      ...moved,
      dryRun: false,
      badBytes: found.bytes,
      badRanges: found.kept,
      badList: listDamage(job, found),
    };
  } catch (error) {
    output.discard();
    throw error;
  }
};

const restoreFrom = async (
  store: Store,
  options: RestoreOptions,
  began: number,
): Promise<RestoreResult> => {
  const snapshot = usableSnapshot(store, options.snapshot);
  const window = windowOf(options.range, imageSizeOf(store, snapshot));
  const done = options.dryRun
    ? await foretell(store, snapshot, options)
    : await restoreWindow({ options, store, snapshot, window });
  const elapsedMs = Math.round(performance.now() - began);
  return { ...prefaceOf(store, snapshot, options, window), ...done, elapsedMs };
};

/** Restores a snapshot. Rejects with a Fault, and then leaves no half-written new file behind. */
export const restore = async (options: RestoreOptions): Promise<RestoreResult> => {
  const began = performance.now();
  checkThreadNames(options.threads, RESTORE_STAGES);
  checkOptions(options);
  refuseSameFile(options.output, options.store);
  const list = listPath(options);
  if (list) checkRangesPath(list);
  return withStore(
    options.store,
    async (store) => {
      await unlock(store, options);
      return restoreFrom(store, options, began);
    },
    (store) => {
      // Read in the same generation as the snapshot table: a writer may publish meanwhile.
      store.l1(usableSnapshot(store, options.snapshot).entry);
    },
  );
};
