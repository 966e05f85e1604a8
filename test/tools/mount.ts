// A small disk: a file system in memory that holds only so much.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';

/**
 * Mounts a disk of `bytes` bytes in a folder; gone when the test ends. Undefined where this process
 * may not mount.
 */
export const smallDisk = (t: Test, folder: string, bytes: number): string | undefined => {
  const disk = join(folder, 'disk');
  fs.mkdirSync(disk);
  const { status } = spawnSync('mount', [
    '-t',
    'tmpfs',
    '-o',
    `size=${bytes}`,
    'nvsnap-test',
    disk,
  ]);
  if (status !== 0) return undefined;
  const unmount = (): void => {
    spawnSync('umount', ['--lazy', disk]);
  };
  t.teardown(unmount);
  process.once('exit', unmount);
  return disk;
};
