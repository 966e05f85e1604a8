// A block device made of a file.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { patch } from './files.js';

/**
 * A loop device over a new file with this content, and so long, gone when the test ends. Undefined where this process may
 * not have one: the test must say so.
 */
export const loopDevice = (
  t: Test,
  folder: string,
  content: Buffer,
  bytes = content.length,
): string | undefined => {
  const file = join(folder, 'device');
  fs.writeFileSync(file, content);
  fs.truncateSync(file, bytes);
  const { status, stdout } = spawnSync('losetup', ['-f', '--show', file], { encoding: 'utf8' });
  if (status !== 0) return undefined;
  const device = stdout.trim();
  // Once: what has this number later is another test's.
  const detach = (): void => {
    process.removeListener('exit', detach);
    spawnSync('losetup', ['-d', device]);
  };
  t.teardown(detach);
  process.once('exit', detach);
  return device;
};

/** What is on a device, through a mind that forgets what it has cached. */
export const contentOf = (device: string, bytes: number): Buffer => {
  const fd = fs.openSync(device, 'r');
  try {
    const content = Buffer.alloc(bytes);
    fs.readSync(fd, content, 0, bytes, 0);
    return content;
  } finally {
    fs.closeSync(fd);
  }
};

/** Puts bytes on a device. */
export const overwrite = (device: string, content: Buffer): void => patch(device, content, 0);
