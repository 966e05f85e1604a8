// An archive as the kernel takes its first file system from (Documentation/driver-api/early-userspace/
// buffer-format.rst, "newc"): for each entry a header of hexadecimal numbers, the name, the content.

import fs from 'node:fs';
import { dirname } from 'node:path';

const FOLDER_MODE = 0o040755;
const PROGRAM_MODE = 0o100755;
const ALIGNMENT = 4;

const padding = (length: number): Buffer =>
  Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);

export class Archive {
  readonly #fd: number;
  readonly #names = new Set<string>();

  constructor(path: string) {
    this.#fd = fs.openSync(path, 'wx');
  }

  #entry(name: string, mode: number, content: Uint8Array): void {
    this.#names.add(name);
    const raw = Buffer.from(`${name}\0`);
    const fields = [this.#names.size, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, raw.length, 0];
    const hex = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    const header = Buffer.concat([Buffer.from(`070701${hex}`), raw]);
    for (const part of [header, padding(header.length), content, padding(content.length)]) {
      fs.writeSync(this.#fd, part);
    }
  }

  #folder(path: string): void {
    if (path === '/' || this.#names.has(path.slice(1))) return;
    this.#folder(dirname(path));
    this.#entry(path.slice(1), FOLDER_MODE, Buffer.alloc(0));
  }

  /** Adds an executable file with this text; `path` is absolute. */
  text(path: string, content: string | Uint8Array): void {
    if (this.#names.has(path.slice(1))) return;
    this.#folder(dirname(path));
    this.#entry(path.slice(1), PROGRAM_MODE, Buffer.from(content));
  }

  /** Adds what file `from` holds, links followed. */
  file(path: string, from: string): void {
    this.text(path, fs.readFileSync(from));
  }

  close(): void {
    this.#entry('TRAILER!!!', 0, Buffer.alloc(0));
    fs.closeSync(this.#fd);
  }
}
