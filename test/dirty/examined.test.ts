// The sources that read a tracker's file, under the examiner; and the examiner itself, which must find out a source
// that lies.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { examineSource, type SourceWorld } from '../../dirty/examine.js';
import { type DirtySource, openSource } from '../../dirty/index.js';
import { bitmapBytes, setBits } from '../../disk/index.js';
import { tempDir } from '../tools/files.js';

const PAGE = 4096;

/** A tracker that sees every write, and keeps what it has seen until a take has succeeded. */
class Tracker {
  readonly image: string;
  readonly file: string;
  readonly #bits: Buffer;

  constructor(folder: string, size: number) {
    this.image = join(folder, 'image');
    this.file = join(folder, 'dirty');
    fs.writeFileSync(this.image, Buffer.alloc(size, 'nvdimm '));
    this.#bits = Buffer.alloc(bitmapBytes(size, PAGE));
  }

  write(offset: number, bytes: Uint8Array): void {
    const fd = fs.openSync(this.image, 'r+');
    fs.writeSync(fd, bytes, 0, bytes.length, offset);
    fs.closeSync(fd);
    setBits(this.#bits, PAGE, { start: offset, end: offset + bytes.length });
  }

  /** Writes the bits as a bitmap. */
  saveBitmap(): void {
    fs.writeFileSync(this.file, this.#bits);
  }

  /** Writes the bits as a sparse file with data where they are set. */
  saveHoles(): void {
    fs.rmSync(this.file, { force: true });
    const fd = fs.openSync(this.file, 'w');
    const { size } = fs.statSync(this.image);
    const page = Buffer.alloc(PAGE);
    fs.ftruncateSync(fd, size);
    for (let at = 0; at < size; at += PAGE) {
      const bit = at / PAGE;
      if (((this.#bits[bit >>> 3] as number) & (1 << (bit & 7))) !== 0)
        fs.writeSync(fd, page, 0, PAGE, at);
    }
    fs.ftruncateSync(fd, size);
    fs.closeSync(fd);
  }

  clear(): void {
    this.#bits.fill(0);
  }
}

const worldOf =
  (t: Test, kind: 'bitmap' | 'holes') =>
  (size: number): SourceWorld => {
    const tracker = new Tracker(tempDir(t), size);
    const spec = `${kind}:${tracker.file}`;
    return {
      image: tracker.image,
      source: openSource(spec),
      write: (offset, bytes) => tracker.write(offset, bytes),
      beforeLine: () => (kind === 'bitmap' ? tracker.saveBitmap() : tracker.saveHoles()),
      afterCommit: () => tracker.clear(),
      reopen: () => openSource(spec),
    };
  };

await examineSource(t, { name: 'bitmap', unit: PAGE, make: worldOf(t, 'bitmap') });
await examineSource(t, { name: 'holes', unit: PAGE, make: worldOf(t, 'holes') });

/** Says that page 5 never changes. */
const lying = (source: DirtySource): DirtySource => ({
  ...source,
  begin: async (image, since) => {
    const epoch = await source.begin(image, since);
    const { changes } = epoch;
    if (!changes.known) return epoch;
    const extents = [...changes.extents()].flatMap(({ start, end }) =>
      start <= 5 * PAGE && end >= 6 * PAGE
        ? [
            { start, end: 5 * PAGE },
            { start: 6 * PAGE, end },
          ].filter((extent) => extent.end > extent.start)
        : [{ start, end }],
    );
    return { ...epoch, changes: { known: true, extents: () => extents } };
  },
});

t.test('the examiner finds a source that misses one page', async (t) => {
  const failures: string[] = [];
  const runner = {
    test: async (name: string, body: (t: object) => Promise<void>): Promise<void> => {
      await body({}).catch((error: Error) => failures.push(`${name}: ${error.message}`));
    },
  };
  const make = (size: number): SourceWorld => {
    const world = worldOf(t, 'bitmap')(size);
    return { ...world, source: lying(world.source) };
  };
  await examineSource(runner, { name: 'liar', unit: PAGE, make, seed: 1 });
  t.equal(failures.length, 2, 'it is told twice');
  t.match(failures[0], /byte 204\d\d has changed and is not named/);
});
