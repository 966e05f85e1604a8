// Where a restore goes: a new file that appears under its name when it is whole, a block device, a copy that
// is brought up to date, or standard output.

import fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { isatty } from 'node:tty';
import {
  attachFile,
  closeForStream,
  type Extent,
  errnoOf,
  type File,
  type FileSpec,
  fault,
  KiB,
  lockAgainstRemoval,
  MiB,
  openFile,
  openForStream,
  reasonOf,
  seekEnd,
  settleStream,
} from '../disk/index.js';
import type { Manner } from '../stages/index.js';
import { nonZeroPieces } from './non-zero.js';
import { givePartItsName, partOf, refuseExisting } from './part.js';

export const STDOUT = '-';

export interface Output {
  readonly spec: FileSpec;
  readonly manner: Manner;
  /** What is subtracted from an image offset to get one in the output. */
  readonly shift: number;
  /** Makes it as long as it is to be; called when all is planned, and before anything is delivered. */
  begin(): void;
  /** Makes image bytes read as zeros, where that needs to be done; returns how many were not before. */
  zeros(range: Extent): Promise<number>;
  /** Resolves when all of it is on the disk. Until then nobody knows whether the disk has taken what was written. */
  settle(): Promise<void>;
  /** Gives it its name. */
  finish(): void;
  /** Leaves nothing behind that was not there. */
  discard(): void;
}

/** What is asked of an output. */
export interface OutputUse {
  readonly path: string;
  /** The image bytes it is for. */
  readonly window: Extent;
  /** Size of the whole image in bytes. */
  readonly imageBytes: number;
  /** An existing file may be replaced, a block device written to. */
  readonly force: boolean;
  /** It is a copy of the image that is to be brought up to date. */
  readonly inPlace: boolean;
  /** Permissions of a new file, before the umask. */
  readonly mode: number;
}

const asItIs = (): void => {};
const nothing = async (): Promise<number> => 0;

/** Zeros are made in steps of this; signals are heard between. */
const ZERO_STEP_BYTES = 64 * MiB;
/** Zeros are looked for in steps of this. */
const LOOK_BYTES = 64 * KiB;

const unsuitable = (path: string, reason: string, cause?: unknown) =>
  fault('output-unsuitable', { path, reason }, cause);

/** Zeroes what is not zero in [start, end) of an existing file or device; returns its bytes. */
const clear = async (file: File, range: Extent): Promise<number> => {
  let cleared = 0;
  for await (const { start, end } of nonZeroPieces(file, range, LOOK_BYTES)) {
    file.zero(start, end - start);
    cleared += end - start;
  }
  return cleared;
};

/** Opens a device for itself alone: one that is mounted is refused. */
const openDevice = (path: string, bytes: number): File => {
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_EXCL);
  const file = attachFile({ path, fd });
  if (seekEnd(fd) >= bytes) return file;
  file.close();
  throw unsuitable(path, `the device is smaller than ${bytes} bytes`);
};

const openOver = ({ path, window }: OutputUse): Output => {
  const file = openDevice(path, window.end - window.start);
  const close = (): void => file.close();
  return {
    spec: file.spec,
    manner: 'over',
    shift: window.start,
    begin: asItIs,
    zeros: async ({ start, end }) => {
      for (let at = start; at < end; at += ZERO_STEP_BYTES) {
        file.zero(at - window.start, Math.min(ZERO_STEP_BYTES, end - at));
        await turn();
      }
      return end - start;
    },
    settle: () => file.sync(),
    finish: close,
    discard: close,
  };
};

/** Refuses a file that is not as long as the image where only a range is wanted. */
const checkLength = (file: File, { path, window, imageBytes }: OutputUse): void => {
  const size = file.size();
  if (size === imageBytes || window.end - window.start === imageBytes) return;
  throw unsuitable(path, `it has ${size} bytes, and the image has ${imageBytes}`);
};

const openUpdate = (use: OutputUse, stat: fs.Stats): Output => {
  const { path, imageBytes } = use;
  const file = stat.isBlockDevice() ? openDevice(path, imageBytes) : openFile(path, 'r+');
  const close = (): void => file.close();
  if (stat.isFile()) {
    try {
      checkLength(file, use);
    } catch (error) {
      close();
      throw error;
    }
  }
  return {
    spec: file.spec,
    manner: 'update',
    shift: 0,
    begin: () => {
      if (stat.isFile() && file.size() !== imageBytes) file.truncate(imageBytes);
    },
    zeros: (range) => clear(file, range),
    settle: () => file.sync(),
    finish: close,
    discard: close,
  };
};

const openStream = ({ window }: OutputUse): Output => {
  if (isatty(1)) {
    throw fault('usage', {
      problem: 'Standard output is a terminal.',
      advice: 'Redirect it to a file or a program, or name an output.',
    });
  }
  const path = 'standard output';
  const fd = openForStream(1);
  const close = (): void => closeForStream(fd, 1);
  return {
    spec: { path, fd },
    manner: 'stream',
    shift: window.start,
    begin: asItIs,
    zeros: nothing,
    settle: () => settleStream(fd, path),
    finish: close,
    discard: close,
  };
};

const openNew = ({ path, window, force, mode }: OutputUse): Output => {
  const part = partOf(path);
  // Faults name the output, not its part.
  const file = attachFile({ path, fd: fs.openSync(part, 'wx', mode) });
  let isOpen = true;
  const close = (): void => {
    if (isOpen) file.close();
    isOpen = false;
  };
  const discard = (): void => {
    close();
    fs.rmSync(part, { force: true });
  };
  try {
    lockAgainstRemoval(file.spec.fd);
    file.truncate(window.end - window.start);
  } catch (error) {
    discard();
    throw error;
  }
  return {
    spec: file.spec,
    manner: 'fresh',
    shift: window.start,
    begin: asItIs,
    zeros: nothing,
    settle: () => file.sync(),
    finish: () => {
      close();
      givePartItsName(part, path, force);
    },
    discard,
  };
};

const openPath = (use: OutputUse): Output => {
  const { path, force, inPlace } = use;
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) throw unsuitable(path, 'it is a directory');
  if (inPlace && !stat)
    throw unsuitable(path, 'it does not exist, and so cannot be brought up to date');
  if (stat && !stat.isFile() && !stat.isBlockDevice()) {
    throw unsuitable(path, 'it is not a regular file or block device');
  }
  if (stat && inPlace) return openUpdate(use, stat);
  refuseExisting(path, force);
  return stat?.isBlockDevice() ? openOver(use) : openNew(use);
};

/** Opens the output of a restore; an existing one only with `force` or `inPlace`. */
export const openOutput = (use: OutputUse): Output => {
  const { path } = use;
  if (path === STDOUT) return openStream(use);
  try {
    return openPath(use);
  } catch (error) {
    if (errnoOf(error) === 'EBUSY') throw unsuitable(path, 'it is in use (mounted?)', error);
    if (errnoOf(error)?.startsWith('E')) throw unsuitable(path, reasonOf(error), error);
    throw error;
  }
};
