// What the figures were measured on: without it they mean nothing.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { GiB } from '../../disk/index.js';

/** File systems by the number that statfs(2) gives (linux/magic.h). */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
  [0x2fc12fc1, 'zfs'],
  [0xf2f52010, 'f2fs'],
  [0x794c7630, 'overlay'],
  [0x6969, 'nfs'],
]);

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  readonly dir: string;
  readonly fileSystem: string;
  /** Load average over one minute, before anything ran. */
  readonly load: number;
}

export const describeMachine = (dir: string): Machine => {
  const { type } = fs.statfsSync(dir);
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    kernel: os.release(),
    node: process.version,
    dir,
    fileSystem: FILE_SYSTEMS.get(type) ?? `type 0x${type.toString(16)}`,
    load: os.loadavg()[0] ?? 0,
  };
};

/** The commit that the folder of the program was at, with + when something in it had been changed; in a clone only. */
export const describeCommit = (folder: string): string | undefined => {
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync('git', ['-C', folder, ...args], { encoding: 'utf8' });
    return status === 0 ? stdout.trim() : undefined;
  };
  const commit =
    git('log', '-1', '--format=%h', '--', 'pipeline') && git('rev-parse', '--short', 'HEAD');
  if (!commit) return undefined;
  return git('status', '--porcelain') === '' ? commit : `${commit}+`;
};

/** What a file system in memory must leave to the programs that run, ours and everybody else's. */
const MEMORY_RESERVE = 2 * GiB;

/**
 * Bytes that can be written in `dir`. A tmpfs promises more than the machine has: what it takes beyond
 * that costs some other process its life.
 */
export const freeBytes = (dir: string): number => {
  const { bavail, bsize, type } = fs.statfsSync(dir);
  const free = bavail * bsize;
  if (FILE_SYSTEMS.get(type) !== 'tmpfs') return free;
  return Math.max(0, Math.min(free, os.freemem() - MEMORY_RESERVE));
};
