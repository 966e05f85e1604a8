// A file in place of a store, for the lines in which clusters are written or read.

import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileSpec } from '../disk/index.js';

export class StoreFile {
  readonly spec: FileSpec;
  readonly #folder: string;

  constructor() {
    this.#folder = fs.mkdtempSync(join(tmpdir(), 'nvsnap-examine-'));
    const path = join(this.#folder, 'store');
    this.spec = { path, fd: fs.openSync(path, 'w+') };
  }

  close(): void {
    fs.closeSync(this.spec.fd);
    fs.rmSync(this.#folder, { recursive: true });
  }
}
