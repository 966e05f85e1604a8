// Files as they are measured: read into the page cache or dropped from it, brought to the disk, and counted.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { BLOCK_BYTES, dataExtents, forgetCached, MiB, pageBuffer } from '../../disk/index.js';
import type { Job } from '../job.js';

const CHUNK_BYTES = 4 * MiB;

/** A file, or all files in a folder. */
const filesIn = (path: string): string[] =>
  fs.statSync(path).isDirectory()
    ? fs.readdirSync(path).flatMap((name) => filesIn(join(path, name)))
    : [path];

/** Reads the data of a file, or of all in a folder, once, so that the page cache has it. */
export const warm = (path: string): void => {
  for (const file of filesIn(path)) readThrough(file);
};

const readThrough = (path: string): void => {
  const fd = fs.openSync(path, 'r');
  const into = pageBuffer(CHUNK_BYTES);
  try {
    for (const { start, end } of dataExtents(fd, { start: 0, end: fs.fstatSync(fd).size })) {
      for (let at = start; at < end; at += CHUNK_BYTES) {
        fs.readSync(fd, into, 0, Math.min(CHUNK_BYTES, end - at), at);
      }
    }
  } finally {
    fs.closeSync(fd);
  }
};

/** Drops them from the page cache, when all of it is on the disk. A file in memory has no other place. */
export const dropCache = (path: string): void => {
  for (const file of filesIn(path)) {
    syncPath(file);
    forgetCached(file);
  }
};

/** Brings what is read next, files or folders, into the page cache, or out of it. */
export const settle = ({ options }: Job, ...paths: readonly string[]): void => {
  for (const path of paths) {
    if (options.cache === 'warm') warm(path);
    else dropCache(path);
  }
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
export const bytesOf = (path: string): number =>
  filesIn(path).reduce((sum, file) => sum + fs.statSync(file).size, 0);

/** Bytes of a file that are no holes. */
export const allocatedOf = (path: string): number => fs.statSync(path).blocks * BLOCK_BYTES;
