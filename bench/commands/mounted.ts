// A file system in a file, mounted for as long as something is measured on it: that needs root.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { errnoOf } from '../../disk/index.js';
import type { Job } from '../job.js';

/** Runs a program to its end; returns in a sentence why it failed, or undefined when it did not. */
export const failureOf = (program: string, ...args: readonly string[]): string | undefined => {
  const { status, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (status === 0) return undefined;
  if (errnoOf(error) === 'ENOENT') return `${program} is not installed.`;
  // What it says first; what follows is advice.
  return stderr?.trim().split('\n', 1)[0] || `${program} failed.`;
};

export interface Mounted {
  readonly folder: string;
  /** Unmounts it, and removes it. */
  leave(): void;
}

/** Makes a file system of so many bytes and mounts it, or says why it cannot. */
export const mountNew = (
  { scratch }: Job,
  type: 'xfs' | 'btrfs',
  bytes: number,
): Mounted | { readonly why: string } => {
  const disk = `${type}.disk`;
  const [file, folder] = [scratch.path(disk), scratch.folderFor(type)];
  fs.writeFileSync(file, '');
  fs.truncateSync(file, bytes);
  const why =
    failureOf(`mkfs.${type}`, '-q', file) ?? failureOf('mount', '-o', 'loop', file, folder);
  if (why !== undefined) {
    for (const name of [disk, type]) scratch.drop(name);
    return { why: `${type} cannot be mounted here: ${why}` };
  }
  const unmount = (): void => {
    failureOf('umount', '--lazy', folder);
  };
  // Before the folder goes that it is mounted in.
  process.prependOnceListener('exit', unmount);
  return {
    folder,
    leave: () => {
      process.off('exit', unmount);
      unmount();
      scratch.drop(disk);
    },
  };
};
