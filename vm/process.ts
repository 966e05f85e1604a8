// Which process of this machine is the QEMU at the other end, and which files it has open. QMP does not say; but it names
// the threads of the virtual processors, and a thread leads to its process. What a process has open says more than a
// path does: a file may have been replaced since it was mapped.

import fs from 'node:fs';

/** A file by device and inode. */
export type FileKey = string;

const keyOf = ({ dev, ino }: fs.BigIntStats): FileKey => `${dev}:${ino}`;

/** Which file a path leads to; undefined when there is none. */
export const fileKey = (path: string): FileKey | undefined => {
  try {
    return keyOf(fs.statSync(path, { bigint: true }));
  } catch {
    return undefined;
  }
};

/** The process that a thread belongs to. */
const processOf = (thread: number): number | undefined => {
  try {
    const [, pid] = /^Tgid:\t(\d+)$/m.exec(fs.readFileSync(`/proc/${thread}/status`, 'utf8')) ?? [];
    return pid === undefined ? undefined : Number(pid);
  } catch {
    return undefined;
  }
};

/** The one process that has all these threads. */
export const processWith = (threads: readonly number[]): number | undefined => {
  const [first, ...others] = [...new Set(threads.map(processOf))];
  return others.length === 0 ? first : undefined;
};

/** False for a process that has ended, waited for or not. */
export const isAlive = (pid: number): boolean => {
  try {
    const [, state] = /^State:\t(\w)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return state !== 'Z' && state !== 'X';
  } catch {
    return false;
  }
};

/** All files that a process has open; undefined where that may not be looked at. */
export const openFiles = (pid: number): ReadonlySet<FileKey> | undefined => {
  try {
    const folder = `/proc/${pid}/fd`;
    const keys = fs.readdirSync(folder).map((fd) => fileKey(`${folder}/${fd}`));
    return new Set(keys.filter((key) => key !== undefined));
  } catch {
    return undefined;
  }
};

/** A process as messages name it. */
export interface User {
  readonly pid: number;
  readonly name: string;
}

const nameOf = (pid: number): string => {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'unknown';
  }
};

/** A process other than ours that has a file open, as far as that may be seen. */
export const userOf = (path: string): User | undefined => {
  const key = fileKey(path);
  if (key === undefined) return undefined;
  const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const found = pids
    .map(Number)
    .find((pid) => pid !== process.pid && openFiles(pid)?.has(key) === true);
  return found === undefined ? undefined : { pid: found, name: nameOf(found) };
};

/** The folder in which a process's relative paths begin. */
export const folderOf = (pid: number): string | undefined => {
  try {
    return fs.readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
};

/** The user and group that a process acts as. */
export const ownerOf = (
  pid: number,
): { readonly uid: number; readonly gid: number } | undefined => {
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
    const effective = (what: string): number =>
      Number(new RegExp(`^${what}:\\t\\d+\\t(\\d+)`, 'm').exec(status)?.[1]);
    const [uid, gid] = [effective('Uid'), effective('Gid')];
    return Number.isInteger(uid) && Number.isInteger(gid) ? { uid, gid } : undefined;
  } catch {
    return undefined;
  }
};
