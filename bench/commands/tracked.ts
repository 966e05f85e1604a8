// Dirty sources at work: one image whose changes are seen by every tracker at once, and a store for each source.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { bitmapBytes, type Extent, KiB, setBits } from '../../disk/index.js';
import type { Job } from '../job.js';

const PAGE = 4 * KiB;
const MAPPER = fileURLToPath(new URL('./mapper.js', import.meta.url));
/** What the mapper is told at once. */
const EXTENTS_AT_ONCE = 4096;

/** Trackers that see what is written: as a bitmap, and as a sparse file. */
export class Trackers {
  readonly bitmap: string;
  readonly holes: string;
  readonly #size: number;

  constructor(job: Job, size: number) {
    this.bitmap = job.scratch.path('tracker.bits');
    this.holes = job.scratch.path('tracker.holes');
    this.#size = size;
    this.note([]);
  }

  /** Says what has changed since the last take. */
  note(extents: readonly Extent[]): void {
    const bits = Buffer.alloc(bitmapBytes(this.#size, PAGE));
    for (const extent of extents) setBits(bits, PAGE, extent);
    fs.writeFileSync(this.bitmap, bits);
    const fd = fs.openSync(this.holes, 'w');
    try {
      fs.ftruncateSync(fd, this.#size);
      for (const { start, end } of extents)
        fs.writeSync(fd, Buffer.alloc(end - start, 1), 0, end - start, start);
      fs.fdatasyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  drop(): void {
    for (const path of [this.bitmap, this.holes]) {
      for (const end of ['', '.since']) fs.rmSync(`${path}${end}`, { force: true });
    }
  }
}

/** The process that has the image mapped: whatever is changed, it stores. */
export class Mapper {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
  }

  static async start(job: Job, image: string): Promise<Mapper> {
    const child = spawn(process.execPath, [MAPPER, image], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    job.scratch.adopt(child);
    await once(child.stdout, 'data');
    return new Mapper(child);
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Fills these bytes with noise. */
  async store(extents: readonly Extent[], seed: number): Promise<void> {
    for (let at = 0; at < extents.length; at += EXTENTS_AT_ONCE) {
      const part = extents
        .slice(at, at + EXTENTS_AT_ONCE)
        .map(({ start, end }, i) => [start, end, (seed + at + i) % 2 ** 32]);
      const answer = once(this.#child.stdout, 'data');
      this.#child.stdin.write(`${JSON.stringify(part)}\n`);
      await answer;
    }
  }

  async end(): Promise<void> {
    const closed = once(this.#child, 'close');
    this.#child.stdin.end();
    await closed;
  }
}
