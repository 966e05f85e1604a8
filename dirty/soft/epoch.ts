// One line of soft-dirty, from the process that is looked at to the epoch that is known of it.

import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { bitmapExtents, PAGE_BYTES } from '../../disk/index.js';
import type { Changes, Epoch, Since, TrackedImage } from '../source.js';
import { unsuitable } from '../tracker-file.js';
import { drawLine, rangesOf } from './draw.js';
import { isOnTmpfs, unfitFileSystem } from './ground.js';
import { otherWriter } from './others.js';
import { fileKey, mapsOf } from './process.js';
import { lockFile, ProcessFiles, runFolder, withProcessLock } from './run-folder.js';
import { kernelTracks } from './self-test.js';
import { emptyPeriod, type ImageState, loadImage, saveImage } from './state.js';
import { Unstoppable } from './stop.js';

const NAME = 'soft-dirty';

export interface SoftDirtyOptions {
  /** The process that has the image mapped. */
  readonly pid: number;
  /** A promise that nothing but stores of this process changes the image. */
  readonly alone?: boolean;
  /** Where state is kept. Default: a folder of this user's that goes with the boot. */
  readonly folder?: string;
}

/** An epoch without a line: everything is read, and what has been dirty stays so. */
const undrawn = (reason: string): Epoch => ({
  id: NAME,
  changes: { known: false, reason },
  commit: async () => {},
  dispose: async () => {},
});

/** Why no line can be drawn, as the end of a sentence. */
const obstacle = (
  { pid, alone = false }: SoftDirtyOptions,
  folder: string,
  image: TrackedImage,
): string | undefined => {
  const stat = fs.fstatSync(image.fd, { bigint: true });
  if (!stat.isFile()) return 'only regular files are mapped';
  // Before all else: who may not look at the process is to be told that.
  const isMapped = rangesOf(mapsOf(pid), fileKey(stat)).length > 0;
  if (!kernelTracks(folder)) return 'this kernel does not track soft-dirty pages';
  const unfit = unfitFileSystem(image.realPath, image.fd, alone);
  if (unfit !== undefined) return unfit;
  return isMapped ? undefined : `process ${pid} has not mapped the image`;
};

/** What is to be known of an image that has no past. */
const freshState = ({ pid, alone = false }: SoftDirtyOptions, image: TrackedImage): ImageState => {
  const stat = fs.fstatSync(image.fd, { bigint: true });
  const { dev, ino } = stat;
  const { realPath, size, identity } = image;
  // Who writes now may have done so since the last line, and may go on until the next.
  const doubt = otherWriter(pid, { realPath, dev, ino }, alone) ?? null;
  return {
    ...{ identity, realPath, file: fileKey(stat), size, alone },
    onTmpfs: isOnTmpfs(realPath),
    line: randomUUID(),
    since: null,
    ...{ ranges: '', locked: false, changed: null },
    before: emptyPeriod(size, doubt),
    after: emptyPeriod(size, doubt),
  };
};

const changesOf = (
  { since: counted, before, size }: ImageState,
  since: Since | undefined,
): Changes => {
  if (counted === null) return { known: false, reason: 'the marks count from no snapshot yet' };
  if (since && since.uuid !== counted) {
    return {
      known: false,
      reason: `the marks count from snapshot ${counted}, not from ${since.uuid}`,
    };
  }
  return before.doubt === null
    ? { known: true, extents: () => bitmapExtents([before.bits], PAGE_BYTES, size) }
    : { known: false, reason: before.doubt };
};

/** The snapshot of line `line` is durable: dirt counts from it. Dirt from before it is forgotten. */
const commit = (files: ProcessFiles, path: string, line: string, uuid: string): void => {
  withProcessLock(NAME, files, () => {
    const state = loadImage(path);
    if (state?.line !== line) return;
    const { after, size } = state;
    saveImage(path, { ...state, since: uuid, before: after, after: emptyPeriod(size, null) });
  });
};

const drawnEpoch = (
  files: ProcessFiles,
  path: string,
  state: ImageState,
  since: Since | undefined,
  lock: number,
): Epoch => ({
  id: `${NAME}:${state.line}`,
  changes: changesOf(state, since),
  // If this fails the dirt counts from no snapshot that anybody asks for, so the next take reads everything.
  commit: async (uuid) => commit(files, path, state.line, uuid),
  dispose: async () => fs.closeSync(lock),
});

/** Draws the line; throws a Fault, or the system's error. */
export const begin = (
  options: SoftDirtyOptions,
  image: TrackedImage,
  since: Since | undefined,
): Epoch => {
  const { pid } = options;
  if (!fs.existsSync(`/proc/${pid}`)) throw unsuitable(NAME, `there is no process ${pid}`);
  const folder = runFolder(NAME, options.folder);
  const hindered = obstacle(options, folder, image);
  if (hindered !== undefined) return undrawn(hindered);
  const files = new ProcessFiles(folder, pid);
  files.sweep();
  const fresh = freshState(options, image);
  const lock = lockFile(NAME, files.imageLock(fresh.file));
  try {
    const path = files.image(fresh.file);
    const state = withProcessLock(NAME, files, () => drawLine(pid, files, path, fresh));
    return drawnEpoch(files, path, state, since, lock);
  } catch (error) {
    fs.closeSync(lock);
    if (error instanceof Unstoppable) return undrawn(error.message);
    throw error;
  }
};
