// Files as they are measured: read into the page cache or dropped from it, brought to the disk, and counted.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { BLOCK_BYTES, MiB } from '../../disk/index.js';

const CHUNK_BYTES = 4 * MiB;

/** Reads a file once, so that the page cache has it. */
export const warm = (path: string): void => {
  const fd = fs.openSync(path, 'r');
  const into = Buffer.allocUnsafe(CHUNK_BYTES);
  try {
    while (fs.readSync(fd, into) > 0);
  } finally {
    fs.closeSync(fd);
  }
};

/** Drops a file from the page cache, when all of it is on the disk. A file in memory has no other place. */
export const dropCache = (path: string): void => {
  syncPath(path);
  // dd advises the kernel so (POSIX_FADV_DONTNEED) for all of a file of which it reads nothing.
  const { status } = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
  if (status !== 0) throw new Error(`dd could not drop ${path} from the page cache.`);
};

/** Returns when all data of a file, or of a folder's file system, is on the disk: at once if its maker saw to it. */
export const syncPath = (path: string): void => {
  if (fs.statSync(path).isDirectory()) {
    const { status } = spawnSync('sync', ['--file-system', path]);
    if (status !== 0) throw new Error(`sync failed for ${path}.`);
    return;
  }
  const fd = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
};

/** Bytes of a file, or of all files in a folder. */
export const bytesOf = (path: string): number => {
  const stat = fs.statSync(path);
  if (!stat.isDirectory()) return stat.size;
  return fs.readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0);
};

/** Bytes of a file that are no holes. */
export const allocatedOf = (path: string): number => fs.statSync(path).blocks * BLOCK_BYTES;
