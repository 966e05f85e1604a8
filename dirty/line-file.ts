// Which snapshot a tracker's dirt counts from. A bitmap cannot say it, so a file beside it does: the uuid of the
// snapshot, and which image it was. From the moment a line is drawn until its snapshot is durable the file names
// none, since nobody can know then whether the tracker has begun anew. The file is locked meanwhile: two takes
// that share a tracker would each take the other's changes for their own.

import fs from 'node:fs';
import { Fault, ioFault, syncFolder } from '../disk/index.js';
import { openLocked } from './lock-file.js';
import type { Since, TrackedImage } from './source.js';

/** Far more than is written; a longer file is not ours. */
const MAX_BYTES = 4096;

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

export class LineFile {
  readonly path: string;
  readonly #fd: number;
  readonly #before: string;
  #image = '';
  /** True once `commit` has been tried. */
  #committed = false;

  /** Opens and locks the file, and makes it when there is none. `source` is for faults. */
  constructor(source: string, path: string) {
    this.path = path;
    try {
      this.#fd = openLocked(source, path, { mode: 0o644 });
    } catch (error) {
      throw error instanceof Fault ? error : ioFault(error, path, 'open');
    }
    const raw = Buffer.alloc(MAX_BYTES);
    this.#before = raw.toString('utf8', 0, fs.readSync(this.#fd, raw, 0, MAX_BYTES, 0));
  }

  /** Why the tracker's dirt does not count from `since`; undefined when it does. */
  misfit(image: TrackedImage, since: Since): string | undefined {
    const content = parse(this.#before);
    if (!content) return `${this.path} does not say which snapshot it counts from`;
    if (content.image !== image.identity) return `${this.path} is about another image file`;
    if (content.since !== since.uuid) {
      return `${this.path} counts from snapshot ${content.since}, not from ${since.uuid}`;
    }
    return undefined;
  }

  #write(content: string): void {
    const raw = Buffer.from(content);
    fs.ftruncateSync(this.#fd, 0);
    fs.writeSync(this.#fd, raw, 0, raw.length, 0);
    fs.fdatasyncSync(this.#fd);
  }

  /** The line is drawn: until `commit` the file names no snapshot. */
  draw(image: TrackedImage): void {
    this.#image = image.identity;
    try {
      this.#write('');
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
      this.#write(`${JSON.stringify(content)}\n`);
    } catch (error) {
      throw ioFault(error, this.path, 'write');
    }
  }

  /** Closes the file; without `commit` before, it says again what it said. */
  close(): void {
    try {
      if (!this.#committed) this.#write(this.#before);
    } catch {
      // What it says now is nothing, which costs a full scan.
    } finally {
      fs.closeSync(this.#fd);
    }
  }
}
