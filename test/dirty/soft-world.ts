// An image that a process has mapped, its store, and takes of it by the marks of that process; for tests in a guest
// whose kernel makes such marks.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { markedPages } from '../../dirty/soft/pagemap.js';
import { mapsOf } from '../../dirty/soft/process.js';
import { softDirtySource } from '../../dirty/soft-dirty.js';
import { MiB } from '../../disk/index.js';
import { restore, type TakeResult, take } from '../../snapshot/index.js';
import { Random, sameFile } from '../tools/files.js';
import { Mapper } from '../tools/mapper.js';

export const SIZE = MiB;
export const PAGE = 4096;
export const HOME = '/dev/shm/soft-dirty';

let count = 0;

/** Starting a process takes long here: one does for all tests that leave it as it was. */
export const shared = new Mapper();

/** One image, its store, and where the state is. */
export class World {
  readonly folder: string;
  readonly state: string;
  readonly image: string;
  readonly store: string;
  readonly mapper: Mapper;
  readonly number: number;
  takes = 0;

  constructor(mapper = new Mapper(), state?: string) {
    count += 1;
    this.folder = join(HOME, String(count));
    fs.mkdirSync(this.folder, { recursive: true });
    this.state = state ?? join('/run', `state-${count}`);
    this.image = join(this.folder, 'image');
    this.store = join(this.folder, 'store');
    this.mapper = mapper;
    this.number = count;
    fs.writeFileSync(this.image, new Random(count).bytes(SIZE));
  }

  get source() {
    return softDirtySource({ pid: this.mapper.pid, folder: this.state });
  }

  async map(): Promise<void> {
    await this.mapper.map(this.number, this.image);
    await this.mapper.tell({ do: 'touch', image: this.number });
  }

  store8(page: number): Promise<void> {
    return this.mapper.store(this.number, page * PAGE + 5, Buffer.from(`store ${this.takes}`));
  }

  /** Takes, and restores what was taken: it must be the image as it is now. */
  async take(): Promise<TakeResult> {
    const result = await this.takeLive();
    await this.checkLatest();
    return result;
  }

  takeLive(): Promise<TakeResult> {
    this.takes += 1;
    const tag = `t${this.takes}`;
    return take({
      image: this.image,
      store: this.store,
      dirty: this.source,
      audit: 0,
      tag,
      clusterSize: PAGE,
    });
  }

  async checkLatest(): Promise<void> {
    const output = join(this.folder, 'restored');
    await restore({ store: this.store, snapshot: 'latest', output, force: true });
    assert(sameFile(output, this.image), 'the snapshot differs from the image');
    fs.rmSync(output);
  }

  /** A take that must believe the marks. */
  async believed(): Promise<void> {
    const { dirty } = await this.take();
    assert.equal(dirty.fallback, null);
    assert(dirty.candidateBytes < SIZE / 2, `${dirty.candidateBytes} bytes were looked at`);
  }

  /** A take that must not. */
  async doubted(reason: RegExp): Promise<void> {
    const { dirty } = await this.take();
    assert.match(String(dirty.fallback), reason);
  }

  async unmap(): Promise<void> {
    await this.mapper.tell({ do: 'unmap', image: this.number });
  }

  async close(): Promise<void> {
    if (this.mapper === shared) await this.unmap();
    else await this.mapper.close();
    fs.rmSync(this.folder, { recursive: true });
  }
}

/** Pages of an image that have the mark. */
export const marksOf = ({ mapper, image }: World): number[] => {
  const { ino } = fs.statSync(image);
  const mapped = mapsOf(mapper.pid).find(({ file }) => file.endsWith(` ${ino}`));
  assert(mapped);
  const fd = fs.openSync(`/proc/${mapper.pid}/pagemap`, 'r');
  const count = (mapped.end - mapped.start) / PAGE;
  const pages = markedPages(fd, { start: mapped.start, count });
  fs.closeSync(fd);
  return pages;
};
