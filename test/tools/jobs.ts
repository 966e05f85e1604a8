// Jobs files for tests, and images for their jobs.

import fs from 'node:fs';
import { join } from 'node:path';
import { MiB } from '../../disk/index.js';
import { patch, Random } from './files.js';

/** Writes a jobs file; JSON is YAML too. */
export const writeJobs = (folder: string, content: unknown, name = 'jobs.yaml'): string => {
  const path = join(folder, name);
  fs.writeFileSync(path, JSON.stringify(content, null, 2));
  return path;
};

/** Images of so many incompressible bytes each, in a folder. */
export class Images {
  readonly folder: string;
  readonly names: readonly string[];
  readonly #random: Random;

  constructor(folder: string, sizes: readonly number[], seed = 1) {
    this.folder = folder;
    this.#random = new Random(seed);
    this.names = sizes.map((size, i) => {
      const name = `image-${i}`;
      fs.writeFileSync(join(folder, name), this.#random.bytes(size));
      return name;
    });
  }

  image(name: string): string {
    return join(this.folder, name);
  }

  store(name: string): string {
    return join(this.folder, `${name}.store`);
  }

  /** Overwrites the last quarter of each image, or its last MiB. */
  change(): void {
    for (const name of this.names) {
      const { size } = fs.statSync(this.image(name));
      const length = Math.min(MiB, Math.floor(size / 4));
      patch(this.image(name), this.#random.bytes(length), size - length);
    }
  }

  /** A job for each; `more` goes into all. */
  jobs(more: Readonly<Record<string, unknown>> = {}): Record<string, unknown>[] {
    return this.names.map((name) => ({ name, image: name, store: `${name}.store`, ...more }));
  }
}
