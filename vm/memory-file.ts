// The file behind a memory backend: whether it is the one that QEMU has mapped, and what its file system can do.

import fs from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import { cloneNameless, openNameless, PAGE_BYTES } from '../disk/index.js';
import { type FileKey, fileKey, folderOf, openFiles, processWith } from './process.js';

/** What is known of the process behind a QMP socket. */
export interface QemuProcess {
  /** Undefined where it is not of this machine, or hidden. */
  readonly pid: number | undefined;
  /** Undefined where that may not be looked at. */
  readonly files: ReadonlySet<FileKey> | undefined;
  readonly folder: string | undefined;
}

/** Looks for the process by the threads of its virtual processors. */
export const findProcess = (threads: readonly number[]): QemuProcess => {
  const pid = processWith(threads);
  if (pid === undefined) return { pid, files: undefined, folder: undefined };
  return { pid, files: openFiles(pid), folder: folderOf(pid) };
};

export interface MemoryFile {
  /** Absolute where that can be told; as QEMU names it otherwise. */
  readonly path: string;
  /**
   * `mapped`: QEMU has this very file open. `missing`: there is none. `replaced`: QEMU has another one open.
   * `unsuitable`: it is a folder or a device. `unseen`: what QEMU has open may not be looked at from here.
   */
  readonly state: 'mapped' | 'missing' | 'replaced' | 'unsuitable' | 'unseen';
  /** Size of the file in bytes; 0 when there is none. */
  readonly bytes: number;
  /** As "ext4"; null when there is no file. */
  readonly fileSystem: string | null;
  /** True where a clone was made of another file beside it. */
  readonly reflink: boolean;
}

/** By statfs(2). */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x5846_5342, 'XFS'],
  [0x9123_683e, 'btrfs'],
  [0x0102_1994, 'tmpfs'],
  [0x9584_58f6, 'hugetlbfs'],
  [0x2fc1_2fc1, 'ZFS'],
  [0x6969, 'NFS'],
  [0x794c_7630, 'overlayfs'],
]);

const fileSystemOf = (path: string): string => {
  const { type } = fs.statfsSync(path);
  return FILE_SYSTEMS.get(type) ?? `0x${type.toString(16)}`;
};

/** Tries it out with a file of one page that has no name. */
export const canClone = (folder: string): boolean => {
  const fd = openNameless(folder);
  if (fd === undefined) return false;
  try {
    fs.writeSync(fd, Buffer.alloc(PAGE_BYTES, 1));
    fs.closeSync(cloneNameless(fd, folder));
    return true;
  } catch {
    return false;
  } finally {
    fs.closeSync(fd);
  }
};

const stateOf = (path: string, stat: fs.Stats, { files }: QemuProcess): MemoryFile['state'] => {
  if (!stat.isFile()) return 'unsuitable';
  const key = fileKey(path);
  if (files === undefined || key === undefined) return 'unseen';
  return files.has(key) ? 'mapped' : 'replaced';
};

/** Looks at the file that a backend names. */
export const memoryFile = (named: string, qemu: QemuProcess): MemoryFile => {
  const nowhere = { bytes: 0, fileSystem: null, reflink: false };
  if (!isAbsolute(named) && qemu.folder === undefined) {
    return { path: named, state: 'unseen', ...nowhere };
  }
  const path = resolve(qemu.folder ?? '/', named);
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (!stat) return { path, state: 'missing', ...nowhere };
  return {
    path,
    state: stateOf(path, stat, qemu),
    bytes: stat.size,
    fileSystem: fileSystemOf(path),
    reflink: stat.isFile() && canClone(dirname(path)),
  };
};
