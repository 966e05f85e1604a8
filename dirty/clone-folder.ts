// Where clones of parents are kept: one for each store, named by store and snapshot. A name is for people and for
// finding a clone; whether it is the one that a snapshot was read from is told by its mark.

import fs from 'node:fs';
import { join } from 'node:path';
import { giveName, syncFolder } from '../disk/index.js';

const PREFIX = '.nvsnap-';
const SUFFIX = '.clone';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Takes of which nobody says for which store they are. */
const NO_STORE = '00000000-0000-0000-0000-000000000000';

const checked = (uuid: string): string => {
  if (!UUID.test(uuid)) throw new Error(`${JSON.stringify(uuid)} is no uuid`);
  return uuid;
};

const inBase36 = (numbers: readonly bigint[]): string =>
  numbers.map((number) => number.toString(36)).join('.');

/**
 * Which file is open, and in which state: another file has another inode or another birth, one that was written to
 * another time. None of it changes with a name, a mount or a boot.
 */
export const markOf = (fd: number): string => {
  const { ino, birthtimeNs, mtimeNs, size } = fs.fstatSync(fd, { bigint: true });
  return inBase36([ino, birthtimeNs, mtimeNs, size]);
};

/** Which file is open, whatever is written to it. */
export const originOf = (fd: number): string => {
  const { ino, birthtimeNs } = fs.fstatSync(fd, { bigint: true });
  return inBase36([ino, birthtimeNs]);
};

/** The clone of a parent, open. */
export interface KeptClone {
  readonly path: string;
  readonly fd: number;
}

export class CloneFolder {
  readonly path: string;
  readonly #store: string | undefined;

  /** `store` is the uuid of the store that clones are kept for. */
  constructor(path: string, store: string | undefined) {
    this.path = path;
    this.#store = store === undefined ? undefined : checked(store);
  }

  /** Opens the clone of a snapshot, whatever store it was made for; undefined when there is none. */
  open(snapshot: string): KeptClone | undefined {
    const name = fs
      .readdirSync(this.path)
      .find((each) => each.startsWith(PREFIX) && each.endsWith(`-${snapshot}${SUFFIX}`));
    if (name === undefined) return undefined;
    const path = join(this.path, name);
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
    return { path, fd: fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) };
  }

  /** Gives a nameless clone the name of its snapshot, durably. False if that is not possible. */
  keep(fd: number, snapshot: string): boolean {
    const name = `${PREFIX}${this.#store ?? NO_STORE}-${checked(snapshot)}${SUFFIX}`;
    const path = join(this.path, name);
    if (!giveName(fd, path)) return false;
    fs.fsyncSync(fd);
    syncFolder(path);
    return true;
  }

  /**
   * Removes the clones that the one of `snapshot` replaces: all others of this store, whatever became of the takes that
   * they were made for; where the store is not known, that of the parent.
   */
  retire(snapshot: string, parent: string | undefined): void {
    for (const name of fs.readdirSync(this.path)) {
      const mine = `${PREFIX}${this.#store ?? NO_STORE}-`;
      if (!name.startsWith(mine) || !name.endsWith(SUFFIX)) continue;
      const of = name.slice(mine.length, -SUFFIX.length);
      if (of === snapshot || !UUID.test(of)) continue;
      if (this.#store === undefined && of !== parent) continue;
      fs.rmSync(join(this.path, name), { force: true });
    }
  }
}
