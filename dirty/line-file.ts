// Which snapshot a tracker's dirt counts from. A bitmap cannot say it, so a file beside it does: the uuid of the
// snapshot, and which image it was. From the moment a line is drawn until its snapshot is durable the file names
// none, since nobody can know then whether the tracker has begun anew. The file is locked meanwhile: two takes
// that share a tracker would each take the other's changes for their own.
//
// Somebody else's file may have that name already. It is looked at before anything is written, and what no take
// can have left there is refused and stays as it is.

import fs from 'node:fs';
import { errnoOf, type Fault, fault, ioFault, syncFolder } from '../disk/index.js';
import { openLocked } from './lock-file.js';
import type { Since, TrackedImage } from './source.js';

/** Far more than is written; a longer file is not ours. */
const MAX_BYTES = 4096;

/** No link is followed, and no pipe waited for. */
const FLAGS = fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;

const NOT_OURS = 'is not what a take leaves there; it was left as it is';

interface Content {
  readonly since: string;
  readonly image: string;
}

const isContent = (value: unknown): value is Content =>
  typeof value === 'object' &&
  value !== null &&
  'since' in value &&
  typeof value.since === 'string' &&
  'image' in value &&
  typeof value.image === 'string';

/** What the file says; undefined when it says nothing that can be believed. */
const parse = (raw: string): Content | undefined => {
  try {
    const value: unknown = JSON.parse(raw);
    return isContent(value) ? value : undefined;
  } catch {
    return undefined;
  }
};

/** How all begins that is written; of the one line that it is, a power cut may leave less. */
const BEGINNING = '{"since":';

const isTorn = (text: string): boolean =>
  !text.includes('\n') && (text.startsWith(BEGINNING) || BEGINNING.startsWith(text));

/** True for what a take may have left, whole or torn. */
const isOurs = (text: string): boolean => isTorn(text) || parse(text) !== undefined;

/** What opening says of a file that is of another kind. */
const KINDS: Readonly<Record<string, string>> = {
  ELOOP: 'is a symbolic link',
  EISDIR: 'is a folder',
  ENXIO: 'is not a regular file',
};

/** What is wrong with a file for a line to be kept in; undefined when it may be. `others` are files with another use. */
const problemOf = (stat: fs.BigIntStats, others: readonly number[]): string | undefined => {
  if (!stat.isFile()) return 'is not a regular file';
  const isOther = others
    .map((fd) => fs.fstatSync(fd, { bigint: true }))
    .some(({ dev, ino }) => dev === stat.dev && ino === stat.ino);
  if (isOther) return 'is the image or the file of its tracker';
  return stat.size > MAX_BYTES ? NOT_OURS : undefined;
};

/** All of an open file; a Fault from `refuse` when it holds what no take has left there. */
const readOurs = (fd: number, refuse: (problem: string) => Fault): Buffer => {
  const raw = Buffer.alloc(MAX_BYTES + 1);
  const content = raw.subarray(0, fs.readSync(fd, raw, 0, raw.length, 0));
  if (content.length > MAX_BYTES || !isOurs(content.toString())) throw refuse(NOT_OURS);
  return content;
};

export class LineFile {
  readonly path: string;
  readonly #fd: number;
  readonly #before: Buffer;
  #image = '';
  /** True once `draw` has been tried. */
  #drawn = false;
  /** True once `commit` has been tried. */
  #committed = false;

  /**
   * Opens and locks the file, and makes it when there is none. A Fault (`dirty-unsuitable`) when it is something
   * else, or the file of one of the descriptors `others`. `source` is for faults.
   */
  constructor(source: string, path: string, others: readonly number[]) {
    this.path = path;
    const refuse = (problem: string, cause?: unknown): Fault =>
      fault('dirty-unsuitable', { source, problem: `${path} ${problem}` }, cause);
    const accept = (stat: fs.BigIntStats): void => {
      const problem = problemOf(stat, others);
      if (problem !== undefined) throw refuse(problem);
    };
    try {
      this.#fd = openLocked(source, path, { flags: FLAGS, mode: 0o644, accept });
    } catch (error) {
      const kind = KINDS[errnoOf(error) ?? ''];
      throw kind === undefined ? ioFault(error, path, 'open') : refuse(kind, error);
    }
    try {
      this.#before = readOurs(this.#fd, refuse);
    } catch (error) {
      fs.closeSync(this.#fd);
      throw ioFault(error, path, 'read');
    }
  }

  /** Why the tracker's dirt does not count from `since`; undefined when it does. */
  misfit(image: TrackedImage, since: Since): string | undefined {
    const content = parse(this.#before.toString());
    if (!content) return `${this.path} does not say which snapshot it counts from`;
    if (content.image !== image.identity) return `${this.path} is about another image file`;
    if (content.since !== since.uuid) {
      return `${this.path} counts from snapshot ${content.since}, not from ${since.uuid}`;
    }
    return undefined;
  }

  #write(raw: Buffer): void {
    fs.ftruncateSync(this.#fd, 0);
    fs.writeSync(this.#fd, raw, 0, raw.length, 0);
    fs.fdatasyncSync(this.#fd);
  }

  /** The line is drawn: until `commit` the file names no snapshot. */
  draw(image: TrackedImage): void {
    this.#image = image.identity;
    this.#drawn = true;
    try {
      this.#write(Buffer.alloc(0));
      syncFolder(this.path);
    } catch (error) {
      throw ioFault(error, this.path, 'write');
    }
  }

  /** From now on the dirt counts from snapshot `uuid`. */
  commit(uuid: string): void {
    const content: Content = { since: uuid, image: this.#image };
    // Even if this fails: what was true before is not true any more.
    this.#committed = true;
    try {
      this.#write(Buffer.from(`${JSON.stringify(content)}\n`));
    } catch (error) {
      throw ioFault(error, this.path, 'write');
    }
  }

  /** Closes the file; without `commit` before, it says again what it said. */
  close(): void {
    try {
      if (this.#drawn && !this.#committed) this.#write(this.#before);
    } catch {
      // What it says now is nothing, which costs a full scan.
    } finally {
      fs.closeSync(this.#fd);
    }
  }
}
