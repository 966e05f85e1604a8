// Where a restore goes: a new file that appears under its name when it is whole, or a block device.

import fs from 'node:fs';
import {
  attachFile,
  errnoOf,
  type FileSpec,
  fault,
  openFile,
  reasonOf,
  seekEnd,
} from '../disk/index.js';

export interface Output {
  readonly spec: FileSpec;
  /** True when it reads as zeros wherever nothing is written. */
  readonly sparse: boolean;
  /** Gives it its name. */
  finish(): void;
  /** Leaves nothing behind. */
  discard(): void;
}

const openDevice = (path: string, size: number): Output => {
  const file = openFile(path, 'r+');
  if (seekEnd(file.spec.fd) < size) {
    file.close();
    throw fault('output-unsuitable', { path, reason: `the device is smaller than ${size} bytes` });
  }
  return {
    spec: file.spec,
    sparse: false,
    finish: () => file.close(),
    discard: () => file.close(),
  };
};

/** Gives the draft its name. Without `replace`, never over a file that appeared meanwhile. */
const rename = (draft: string, path: string, replace: boolean): void => {
  try {
    if (replace) fs.renameSync(draft, path);
    else {
      fs.linkSync(draft, path);
      fs.unlinkSync(draft);
    }
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw fault('output-exists', { path }, error);
    throw fault('output-unsuitable', { path, reason: reasonOf(error) }, error);
  }
};

const openNew = (path: string, size: number, replace: boolean): Output => {
  const draft = `${path}.part-${process.pid}`;
  // Faults name the output, not its draft.
  const file = attachFile({ path, fd: openFile(draft, 'wx').spec.fd });
  let isOpen = true;
  const close = (): void => {
    if (isOpen) file.close();
    isOpen = false;
  };
  const discard = (): void => {
    close();
    fs.rmSync(draft, { force: true });
  };
  try {
    file.truncate(size);
  } catch (error) {
    discard();
    throw error;
  }
  return {
    spec: file.spec,
    sparse: true,
    finish: () => {
      close();
      rename(draft, path, replace);
    },
    discard,
  };
};

/** Opens the output for an image of `size` bytes; an existing one only with `force`. */
export const openOutput = (path: string, size: number, force: boolean): Output => {
  try {
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory())
      throw fault('output-unsuitable', { path, reason: 'it is a directory' });
    if (stat && !force) throw fault('output-exists', { path });
    if (stat?.isBlockDevice()) return openDevice(path, size);
    if (stat && !stat.isFile()) {
      throw fault('output-unsuitable', {
        path,
        reason: 'it is not a regular file or block device',
      });
    }
    return openNew(path, size, force);
  } catch (error) {
    if (errnoOf(error)?.startsWith('E'))
      throw fault('output-unsuitable', { path, reason: reasonOf(error) }, error);
    throw error;
  }
};
