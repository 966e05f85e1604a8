// Where the state is: a folder for each user that goes with the boot, as the marks do. In it, for a process, a lock and
// what was true when its marks were last cleared; and for each of its images the dirt that was moved out of its marks.

import fs from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../../disk/index.js';
import { openLocked } from '../lock-file.js';
import { unsuitable } from '../tracker-file.js';

const PREFIX = 'soft-dirty';
const PRIVATE = 0o700;
const OTHERS_WRITE = 0o022;

/** A line is drawn in milliseconds, or in seconds for very large images. */
const PATIENCE_MS = 60_000;

const folderName = (source: string): string => {
  if (process.geteuid?.() === 0) return '/run/nvsnap';
  const { XDG_RUNTIME_DIR: home } = process.env;
  if (home?.startsWith('/')) return join(home, 'nvsnap');
  throw unsuitable(source, 'XDG_RUNTIME_DIR names no folder to keep its state in');
};

/** The folder, made when there is none; a Fault when others may write to it. */
export const runFolder = (source: string, folder = folderName(source)): string => {
  let stat: fs.Stats;
  try {
    fs.mkdirSync(folder, { recursive: true, mode: PRIVATE });
    stat = fs.lstatSync(folder);
  } catch (error) {
    throw unsuitable(source, `${folder} cannot be used (${reasonOf(error)})`, error);
  }
  if (!stat.isDirectory()) throw unsuitable(source, `${folder} is not a folder`);
  if (stat.uid !== process.geteuid?.() || (stat.mode & OTHERS_WRITE) !== 0) {
    throw unsuitable(source, `${folder} can be written by others`);
  }
  return folder;
};

/** Files of one process in the folder. */
export class ProcessFiles {
  readonly #folder: string;
  readonly #pid: number;

  constructor(folder: string, pid: number) {
    this.#folder = folder;
    this.#pid = pid;
  }

  get lock(): string {
    return join(this.#folder, `${PREFIX}.${this.#pid}.lock`);
  }

  /** What was true at the last clearing. */
  get process(): string {
    return join(this.#folder, `${PREFIX}.${this.#pid}.process`);
  }

  /** The dirt of an image, which is named by device and inode. */
  image(key: string): string {
    return join(this.#folder, `${PREFIX}.${this.#pid}.${key.replaceAll(' ', '-')}.image`);
  }

  imageLock(key: string): string {
    return `${this.image(key)}.lock`;
  }

  /** The files of all images. */
  images(): string[] {
    return this.#names(
      (name) => name.startsWith(`${PREFIX}.${this.#pid}.`) && name.endsWith('.image'),
    );
  }

  #names(wanted: (name: string) => boolean): string[] {
    return fs
      .readdirSync(this.#folder)
      .filter(wanted)
      .map((name) => join(this.#folder, name));
  }

  /** Removes what is left of processes that are gone. */
  sweep(): void {
    const stale = this.#names((name) => {
      const [prefix, pid] = name.split('.');
      return prefix === PREFIX && /^\d+$/.test(pid ?? '') && !fs.existsSync(`/proc/${pid}`);
    });
    for (const path of stale) fs.rmSync(path, { force: true });
  }
}

/** Locks a file, and makes it when there is none; a Fault (`dirty-busy`) when it stays locked so long. */
export const lockFile = (source: string, path: string, patienceMs = 0): number =>
  openLocked(source, path, { flags: fs.constants.O_NOFOLLOW, mode: 0o600, patienceMs });

/** Does something that others must not do to the same process meanwhile. */
export const withProcessLock = <T>(source: string, files: ProcessFiles, act: () => T): T => {
  const fd = lockFile(source, files.lock, PATIENCE_MS);
  try {
    return act();
  } finally {
    fs.closeSync(fd);
  }
};
