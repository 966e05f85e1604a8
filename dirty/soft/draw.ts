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
import { fileKey, identify, type Mapped, mapsOf } from './process.js';
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
  readonly pid: number;
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

/** What was known of the process; undefined when it is about another one that had its number. */
const knownProcess = (files: ProcessFiles, pid: number): ProcessState | undefined => {
  const known = loadProcess(files.process);
  const { started, memory } = identify(pid);
  return known?.boot === bootId() &&
    known.identity.started === started &&
    known.identity.memory === memory
    ? known
    : undefined;
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

/** Merges the dirt since the last line into that before it; from now on the line is `line`. */
const drawn = (state: ImageState, line: string, fresh: ImageState): ImageState => ({
  ...state,
  line,
  alone: fresh.alone,
  before: join(join(state.before, state.after), fresh.before),
  after: fresh.after,
});

/** True for the same image with the same length: only of that earlier dirt says anything. */
const isSameImage = (a: ImageState, b: ImageState): boolean =>
  a.identity === b.identity && a.size === b.size && a.onTmpfs === b.onTmpfs;

/** Saves the marks of all images, clears them, and says what is then known of the image at `path`. */
const turn = (
  pid: number,
  files: ProcessFiles,
  path: string,
  fresh: ImageState,
  looks: ReadonlyMap<string, Look>,
  clearRefs: number,
): ImageState => {
  const known = knownProcess(files, pid);
  const states = known ? loadImages(files) : new Map<string, ImageState>();
  if (!known) for (const stale of files.images()) fs.rmSync(stale, { force: true });
  const maps = mapsOf(pid);
  const pages = canaryPages(maps);
  return withOpen(`/proc/${pid}/pagemap`, 'r', (pagemap) => {
    const doubt = known ? doubtOf(known, pagemap, pages) : CLEARED;
    const view: View = { pid, pagemap, maps, doubt, scanned: known?.scanned ?? null };
    const earlier = states.get(path);
    if (!earlier || !isSameImage(earlier, fresh)) states.set(path, { ...fresh, since: null });
    const scanned = scannedNow();
    for (const [file, state] of states) {
      const gathered = gather(view, state, looks.get(state.file));
      const next = file === path ? drawn(gathered, fresh.line, fresh) : gathered;
      states.set(file, next);
      saveImage(file, next);
    }
    fs.writeSync(clearRefs, CLEAR_SOFT_DIRTY);
    const canary = pages ? setCanary(pid, pages) : null;
    saveProcess(files.process, { boot: bootId(), identity: identify(pid), canary, scanned });
    return states.get(path) as ImageState;
  });
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
    const maps = mapsOf(pid);
    const tracked = [fresh, ...loadImages(files).values()].map(({ file }) => file);
    const looks = new Map<string, Look>();
    for (const file of new Set(tracked)) {
      const mapped = rangesOf(maps, file);
      looks.set(file, { ranges: JSON.stringify(mapped), locked: lockOf(pid, mapped) });
    }
    return whileStopped(pid, () => turn(pid, files, path, fresh, looks, clearRefs));
  });
