// Clones: files that share their blocks with another one until either is written to (ioctl_ficlone(2)).

import fs from 'node:fs';
import { createNameless, ioctl } from './os.js';

// From linux/fs.h.
const FICLONE = 0x4004_9409;
const FS_IOC_GETFLAGS = 0x8008_6601;
const FS_IOC_SETFLAGS = 0x4008_6602;
const FS_NOCOW_FL = 0x0080_0000;

/** A clone is as secret as its original may be, and is never written to. */
const CLONE_MODE = 0o400;

const flagsOf = (fd: number): number => {
  const word = Buffer.alloc(4);
  ioctl(fd, FS_IOC_GETFLAGS, word);
  return word.readUInt32LE(0);
};

/**
 * btrfs clones only between files that are alike in this: with checksums, or without (chattr +C). It can be
 * changed as long as a file is empty.
 */
const matchCopyOnWrite = (from: number, to: number): void => {
  try {
    const flags = flagsOf(to);
    const differing = (flags ^ flagsOf(from)) & FS_NOCOW_FL;
    if (differing === 0) return;
    const word = Buffer.alloc(4);
    word.writeUInt32LE((flags ^ differing) >>> 0);
    ioctl(to, FS_IOC_SETFLAGS, word);
  } catch {
    // A file system without such flags; whether it clones all the same, the clone itself will tell.
  }
};

/**
 * Clones an open file into a folder, as it is at one moment, all that was written until then through whatever
 * mapping included: the kernel keeps writers waiting meanwhile. The clone has no name: whatever ends the
 * process, nothing is left of it; `giveName` makes it stay. Returns its descriptor; throws the system's error.
 */
export const cloneNameless = (fd: number, folder: string): number => {
  const clone = createNameless(folder, CLONE_MODE);
  try {
    matchCopyOnWrite(fd, clone);
    ioctl(clone, FICLONE, fd);
    return clone;
  } catch (error) {
    fs.closeSync(clone);
    throw error;
  }
};
