// Draws the line in a process: for the moment that this takes the process stands still.
//
//     read marks ─▶ merge with earlier dirt ─▶ save, durably ─▶ clear marks ─▶ mark the canary ─▶ go on
//
// A crash anywhere only leaves too much named: what was saved and not cleared is named again, and when the clearing
// was not noted down the canary is not where it should be. Clearing is for the whole process, so the marks of all
// of its images that anybody has a line for are saved before.

import fs from 'node:fs';
import { bootId, PAGE_BYTES, setBits } from '../../disk/index.js';
import { canaryPages, isAlive, setCanary } from './canary.js';
import { type Ground, lockOf, lostBetween, scannedNow } from './ground.js';
import { collect } from './pagemap.js';
import { fileKey, identify, type Mapped, mapsOf, type ProcessIdentity } from './process.js';
import type { ProcessFiles } from './run-folder.js';
import { CLEAR_SOFT_DIRTY } from './self-test.js';
import {
  type ImageState,
  join,
  loadImage,
  loadProcess,
  type ProcessState,
  saveImage,
  saveProcess,
} from './state.js';
import { whileStopped } from './stop.js';

/** Where a process has mapped a file in the way that stores reach it. */
export const rangesOf = (maps: readonly Mapped[], file: string): Mapped[] =>
  maps.filter((mapped) => mapped.file === file && mapped.rights.endsWith('s'));

/** What is open of a process while its line is drawn. */
interface View {
  readonly pagemap: number;
  readonly maps: readonly Mapped[];
  /** Why marks of any image may be missing, as the end of a sentence; null when none can be. */
  readonly doubt: string | null;
  /** From the last clearing. */
  readonly scanned: string | null;
}

/** Whether an image was locked in memory, and where it was mapped then. */
interface Look {
  readonly ranges: string;
  readonly locked: Ground['locked'];
}

/** When a file was last changed in any way; null when the path names another file by now. */
const changedAt = ({ realPath, file }: ImageState): string | null => {
  const stat = fs.statSync(realPath, { bigint: true, throwIfNoEntry: false });
  return stat && fileKey(stat) === file ? String(stat.ctimeNs) : null;
};

/** Takes the marks of one image over into its dirt since the last line. */
const gather = (view: View, state: ImageState, look: Look | undefined): ImageState => {
  const { size } = state;
  const mapped = rangesOf(view.maps, state.file);
  const bits = Buffer.from(state.after.bits);
  const limit = Math.ceil(size / PAGE_BYTES);
  let marked = 0;
  let covered = 0;
  for (const { start, end, offset } of [...mapped].sort((a, b) => a.offset - b.offset)) {
    // What is not mapped has no marks.
    if (offset > covered)
      setBits(bits, PAGE_BYTES, { start: covered, end: Math.min(offset, size) });
    covered = Math.max(covered, offset + end - start);
    const count = (end - start) / PAGE_BYTES;
    marked += collect(view.pagemap, { start, count }, { bits, at: offset / PAGE_BYTES, limit });
  }
  if (covered < size) setBits(bits, PAGE_BYTES, { start: covered, end: size });
  const ranges = JSON.stringify(mapped);
  // What was mapped since then has not been looked at.
  const locked = look?.ranges === ranges ? look.locked : false;
  const changed = changedAt(state);
  const now: Ground = { scanned: scannedNow(), locked };
  const before: Ground = { scanned: view.scanned, locked: state.locked };
  const doubts = [
    state.after.doubt,
    view.doubt,
    ranges === state.ranges ? null : 'the process has changed how it maps the image',
    lostBetween(before, now, state.onTmpfs),
    // A store changes the time too, the first to each page: but then there is a mark.
    marked === 0 && changed !== state.changed ? 'the image was changed past its mapping' : null,
  ];
  const doubt = doubts.find((each) => each !== null && each !== undefined) ?? null;
  return { ...state, after: { bits, doubt }, ranges, locked, changed };
};

const CLEARED = 'somebody else has cleared the marks of the process';

const doubtOf = (
  known: ProcessState,
  pagemap: number,
  pages: ReturnType<typeof canaryPages>,
): string | null => {
  if (!pages || known.canary === null) {
    return 'it cannot be seen whether somebody else has cleared the marks of the process';
  }
  return isAlive(pagemap, pages, known.canary) ? null : CLEARED;
};

/** States of all images of a process, by their files. */
const loadImages = (files: ProcessFiles): Map<string, ImageState> => {
  const states = new Map<string, ImageState>();
  for (const path of files.images()) {
    const state = loadImage(path);
    if (state) states.set(path, state);
    else fs.rmSync(path, { force: true });
  }
  return states;
};

/** Closes what was opened, whatever happens. */
const withOpen = <T>(path: string, flags: string, use: (fd: number) => T): T => {
  const fd = fs.openSync(path, flags);
  try {
    return use(fd);
  } finally {
    fs.closeSync(fd);
  }
};

/** Merges the dirt since the last line into that before it; from now on the line is that of `fresh`. */
const drawn = (state: ImageState, fresh: ImageState): ImageState => ({
  ...state,
  line: fresh.line,
  alone: fresh.alone,
  realPath: fresh.realPath,
  // Who writes now is what a person can do most about.
  before: join(fresh.before, join(state.before, state.after)),
  after: fresh.after,
});

/** True for the same image with the same length: only of that earlier dirt says anything. */
const isSameImage = (a: ImageState, b: ImageState): boolean =>
  a.identity === b.identity && a.size === b.size && a.onTmpfs === b.onTmpfs;

/** All that is needed while the process stands still, so that it does not stand for longer than it must. */
interface Turn {
  readonly pid: number;
  readonly files: ProcessFiles;
  /** Where the state of the image is kept whose line is drawn, and that state without a past. */
  readonly path: string;
  readonly fresh: ImageState;
  readonly known: ProcessState | undefined;
  readonly states: ReadonlyMap<string, ImageState>;
  readonly looks: ReadonlyMap<string, Look>;
  readonly clearRefs: number;
}

const isSameProcess = (known: ProcessState | undefined, identity: ProcessIdentity): boolean =>
  known?.boot === bootId() &&
  known.identity.started === identity.started &&
  known.identity.memory === identity.memory;

/** What is known of the images of this process, and not of another one that had its number. */
const livingStates = ({ states, path, fresh }: Turn, isSame: boolean): Map<string, ImageState> => {
  const living = new Map(isSame ? states : []);
  for (const stale of states.keys()) if (!living.has(stale)) fs.rmSync(stale, { force: true });
  const earlier = living.get(path);
  if (!earlier || !isSameImage(earlier, fresh)) living.set(path, fresh);
  return living;
};

/** Saves the marks of all images, clears them, and says what is then known of the image. */
const turn = (work: Turn): ImageState => {
  const { pid, files, path, fresh, looks, clearRefs } = work;
  const identity = identify(pid);
  const known = isSameProcess(work.known, identity) ? work.known : undefined;
  const states = livingStates(work, known !== undefined);
  const maps = mapsOf(pid);
  const pages = canaryPages(maps);
  return withOpen(`/proc/${pid}/pagemap`, 'r', (pagemap) => {
    const doubt = known ? doubtOf(known, pagemap, pages) : CLEARED;
    const view: View = { pagemap, maps, doubt, scanned: known?.scanned ?? null };
    const scanned = scannedNow();
    for (const [file, state] of states) {
      const gathered = gather(view, state, looks.get(state.file));
      const next = file === path ? drawn(gathered, fresh) : gathered;
      states.set(file, next);
      saveImage(file, next);
    }
    fs.writeSync(clearRefs, CLEAR_SOFT_DIRTY);
    const canary = pages ? setCanary(pid, pages) : null;
    saveProcess(files.process, { boot: bootId(), identity, canary, scanned });
    return states.get(path) as ImageState;
  });
};

/** Looks at where the images are mapped, and whether locked. */
const lookAt = (pid: number, images: Iterable<string>): Map<string, Look> => {
  const maps = mapsOf(pid);
  const looks = new Map<string, Look>();
  for (const file of new Set(images)) {
    const mapped = rangesOf(maps, file);
    looks.set(file, { ranges: JSON.stringify(mapped), locked: lockOf(pid, mapped) });
  }
  return looks;
};

/**
 * Draws the line for the image whose state is kept at `path`. `fresh` is that state for an image without a past: its
 * doubts are added to what is known. Throws Unstoppable, or the system's error; then no mark is cleared.
 */
export const drawLine = (
  pid: number,
  files: ProcessFiles,
  path: string,
  fresh: ImageState,
): ImageState =>
  withOpen(`/proc/${pid}/clear_refs`, 'w', (clearRefs) => {
    const known = loadProcess(files.process);
    const states = loadImages(files);
    const looks = lookAt(
      pid,
      [fresh, ...states.values()].map(({ file }) => file),
    );
    const work: Turn = { pid, files, path, fresh, known, states, looks, clearRefs };
    return whileStopped(pid, () => turn(work));
  });
