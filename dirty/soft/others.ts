// Who else may write to an image: what they write leaves no mark in the process that is watched. What cannot be looked
// at counts as found.

import fs from 'node:fs';
import { join } from 'node:path';
import { errnoOf, reasonOf } from '../../disk/index.js';
import { fileKey, mapsOf } from './process.js';

/** The file that is asked about. */
export interface Target {
  readonly realPath: string;
  readonly dev: bigint;
  readonly ino: bigint;
}

/** The kernel gives this inode to the first namespace of process ids: from others not all processes can be seen. */
const FIRST_PID_NAMESPACE = 'pid:[4026531836]';

const ACCESS_MODE = 0o3;
const O_DIRECT = 0o40000;

/** Character devices that are known not to write to a process's memory but in a system call of its own. */
const HARMLESS =
  /^\/dev\/(null|zero|full|u?random|tty\w*|console|ptmx|pts\/\w+|kvm|net\/tun|tap\d+|fuse|loop-control)$/;

/** Its requests are carried out by other threads of the kernel's. */
const IO_URING = 'anon_inode:[io_uring]';

const isGone = (error: unknown): boolean => ['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '');

/** What `look` finds about a process; undefined when that is gone by now. */
const unlessGone = <T>(look: () => T): T | undefined => {
  try {
    return look();
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
};

/** Flags of an open descriptor, as open(2) has them. */
const flagsOf = (pid: string, fd: string): number => {
  const info = fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
  return Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '', 8);
};

const opensForWriting = (pid: string, { dev, ino }: Target): boolean =>
  fs.readdirSync(`/proc/${pid}/fd`).some((fd) =>
    unlessGone(() => {
      const stat = fs.statSync(`/proc/${pid}/fd/${fd}`, { bigint: true });
      return stat.ino === ino && stat.dev === dev && (flagsOf(pid, fd) & ACCESS_MODE) !== 0;
    }),
  );

const mapsForWriting = (pid: string, target: Target): boolean => {
  const key = fileKey(target);
  return mapsOf(pid).some(({ file, rights }) => file === key && /w.s/.test(rights));
};

/** What was found, as the end of a sentence. */
export interface Finding {
  /** False when it only cannot be ruled out. */
  readonly certain: boolean;
  readonly reason: string;
}

const sure = (reason: string): Finding => ({ certain: true, reason });
const unsure = (reason: string): Finding => ({ certain: false, reason });

/** What one process has of the file. */
const inProcess = (pid: string, target: Target): Finding | undefined => {
  try {
    return unlessGone(() => {
      if (mapsForWriting(pid, target)) return sure(`process ${pid} has mapped it for writing too`);
      return opensForWriting(pid, target)
        ? sure(`process ${pid} has it open for writing`)
        : undefined;
    });
  } catch (error) {
    return unsure(`process ${pid} cannot be looked at (${reasonOf(error)})`);
  }
};

function* otherProcesses(pid: number, target: Target): Generator<Finding> {
  if (fs.readlinkSync('/proc/self/ns/pid') !== FIRST_PID_NAMESPACE) {
    yield unsure('not all processes can be seen from this container');
  }
  for (const other of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(other) || other === String(pid)) continue;
    const found = inProcess(other, target);
    if (found) yield found;
  }
}

function* loopDevices({ realPath, dev, ino }: Target): Generator<Finding> {
  for (const name of fs.readdirSync('/sys/block').filter((each) => each.startsWith('loop'))) {
    try {
      const file = join('/sys/block', name, 'loop/backing_file');
      const backing = fs.readFileSync(file, 'utf8').trim();
      const stat = fs.statSync(backing, { bigint: true, throwIfNoEntry: false });
      if (backing === realPath || (stat?.ino === ino && stat.dev === dev)) {
        yield sure(`the loop device ${name} is made of it`);
      }
    } catch (error) {
      if (isGone(error)) continue;
      yield unsure(`the loop device ${name} cannot be looked at (${reasonOf(error)})`);
    }
  }
}

/** What of the process's own may write past its page table: devices, and reads that bypass the page cache. */
function* ownDevices(pid: number): Generator<Finding> {
  for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
    const found = unlessGone(() => {
      const link = fs.readlinkSync(`/proc/${pid}/fd/${fd}`);
      const isDevice =
        link.startsWith('/') && fs.statSync(`/proc/${pid}/fd/${fd}`).isCharacterDevice();
      if ((isDevice && !HARMLESS.test(link)) || link === IO_URING) {
        return unsure(`${link} may write to the memory of process ${pid}`);
      }
      return (flagsOf(String(pid), fd) & O_DIRECT) !== 0
        ? unsure(`process ${pid} has ${link} open for direct I/O, which may write to its memory`)
        : undefined;
    });
    if (found) yield found;
  }
}

function* findings(pid: number, target: Target): Generator<Finding> {
  try {
    yield* otherProcesses(pid, target);
    yield* loopDevices(target);
    yield* ownDevices(pid);
  } catch (error) {
    yield unsure(`it cannot be seen who else writes to the image (${reasonOf(error)})`);
  }
}

/**
 * Who but process `pid` by its stores may write to the file, as the end of a sentence; undefined when nobody may.
 * With `alone` somebody has promised that nobody does, and only what is certain counts.
 */
export const otherWriter = (pid: number, target: Target, alone: boolean): string | undefined => {
  for (const { certain, reason } of findings(pid, target)) {
    if (certain || !alone) return reason;
  }
  return undefined;
};
