// Disks whose file systems can clone: XFS and btrfs, in a file.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { tempDir } from './files.js';
import { runToEnd } from './spawn.js';

const DISK_BYTES = 640 * 2 ** 20;

/** A file system that is mounted somewhere. */
export interface Disk {
  readonly folder: string;
  /** What it is made of. */
  readonly file: string;
  /** Takes it away and brings it back, as a machine does that starts anew. */
  remount(): void;
}

export interface DiskKind {
  readonly name: string;
  readonly type: 'xfs' | 'btrfs' | 'ext4';
  readonly options?: string;
  /** True when its folders make files that are overwritten in place (chattr +C). */
  readonly nocow?: boolean;
}

/** All on which a clone can be made. */
export const CLONE_DISKS = [
  { name: 'XFS', type: 'xfs' },
  { name: 'btrfs', type: 'btrfs' },
  { name: 'btrfs without copy on write', type: 'btrfs', nocow: true },
  { name: 'btrfs with compression', type: 'btrfs', options: 'compress-force=zstd' },
] as const satisfies readonly DiskKind[];

const run = (program: string, ...args: string[]): boolean => runToEnd(program, args).status === 0;

/** Makes and mounts a disk; gone when the test ends. Undefined where this process may not mount. */
export const cloneDisk = (t: Test, kind: DiskKind, bytes = DISK_BYTES): Disk | undefined => {
  const base = tempDir(t);
  const [file, folder] = [join(base, 'disk'), join(base, 'mounted')];
  fs.writeFileSync(file, '');
  fs.truncateSync(file, bytes);
  fs.mkdirSync(folder);
  if (!run(`mkfs.${kind.type}`, '-q', file)) throw new Error(`mkfs.${kind.type} failed`);
  const mount = (): boolean =>
    run('mount', '-t', kind.type, '-o', ['loop', kind.options ?? []].flat().join(), file, folder);
  const unmount = (): boolean => run('umount', folder);
  if (!mount()) return undefined;
  // Whatever is left of a test that failed must not keep the disk.
  const leave = (): void => {
    if (!unmount()) run('umount', '--lazy', folder);
  };
  process.once('exit', leave);
  t.teardown(() => {
    process.removeListener('exit', leave);
    leave();
  });
  if (kind.nocow && !run('chattr', '+C', folder)) throw new Error('chattr +C failed');
  return {
    folder,
    file,
    remount: () => {
      if (!unmount() || !mount()) throw new Error('the disk does not come back');
    },
  };
};

/** The same, and a test that says so where there cannot be one. */
export const withCloneDisk = async (
  t: Test,
  kind: DiskKind,
  use: (disk: Disk) => Promise<void>,
  bytes?: number,
): Promise<void> => {
  const disk = cloneDisk(t, kind, bytes);
  if (disk) return use(disk);
  t.comment(`not done: this process may not mount ${kind.name}`);
  t.pass(`not done on ${kind.name}: nothing may be mounted here`);
};

/** The clones that are kept in a folder. */
export const clonesIn = (folder: string): string[] =>
  fs.readdirSync(folder).filter((name) => name.startsWith('.nvsnap-'));

/** Runs commands of xfs_io(8) on a file, which write to it in ways that Node has no names for. */
export const xfsIo = (path: string, commands: readonly string[]): void => {
  const args = commands.flatMap((command) => ['-c', command]);
  const { status, stderr } = runToEnd('xfs_io', [...args, path]);
  if (status !== 0 || stderr !== '') throw new Error(`xfs_io: ${commands.join('; ')}: ${stderr}`);
};
