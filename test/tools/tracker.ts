// A dirty tracker as another program would be: it writes to an image and knows where, until a take has succeeded.

import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bitmapBytes, setBits } from '../../disk/index.js';

const PAGE = 4096;

/** What it may write down of what it knows. */
export type TrackerKind = 'bitmap' | 'holes' | 'list';

/** The source that reads lists. */
const LIST_SOURCE = fileURLToPath(new URL('../../../examples/dirty-list.js', import.meta.url));

/** A page as lists have it, now in one way of writing numbers, now in the other. */
const line = (offset: number, i: number): string =>
  i % 2 === 0 ? `${offset} ${PAGE}\n` : `0x${offset.toString(16)}\t0x1000\n`;

export class Tracker {
  readonly image: string;
  /** Where it writes down what it knows. */
  readonly file: string;
  readonly #kind: TrackerKind;
  #bits: Buffer;

  /** Watches a new image of so many bytes, or with `content` one that begins so. */
  constructor(
    folder: string,
    kind: TrackerKind,
    size: number,
    content: Uint8Array = Buffer.alloc(size, 'nvdimm '),
  ) {
    this.image = join(folder, 'image');
    this.file = join(folder, 'dirty');
    this.#kind = kind;
    fs.writeFileSync(this.image, content);
    fs.truncateSync(this.image, size);
    this.#bits = Buffer.alloc(bitmapBytes(size, PAGE));
  }

  /** As the option --dirty has it. */
  get spec(): string {
    return this.#kind === 'list'
      ? `${LIST_SOURCE},list=${this.file}`
      : `${this.#kind}:${this.file}`;
  }

  /** Writes to the image. */
  write(offset: number, bytes: Uint8Array): void {
    this.writeUnseen(offset, bytes);
    setBits(this.#bits, PAGE, { start: offset, end: offset + bytes.length });
  }

  /** Writes to the image and forgets it. */
  writeUnseen(offset: number, bytes: Uint8Array): void {
    const fd = fs.openSync(this.image, 'r+');
    fs.writeSync(fd, bytes, 0, bytes.length, offset);
    fs.closeSync(fd);
  }

  /** Writes down what is dirty. */
  save(): void {
    if (this.#kind === 'bitmap') fs.writeFileSync(this.file, this.#bits);
    else if (this.#kind === 'holes') this.saveChanges(this.file);
    else fs.writeFileSync(this.file, `# written\n${this.#dirtyPages().map(line).join('')}`);
  }

  /** Writes a sparse file as long as the image that has data, the image's own, where it is dirty. */
  saveChanges(path: string): void {
    fs.rmSync(path, { force: true });
    const [from, to] = [fs.openSync(this.image, 'r'), fs.openSync(path, 'w')];
    const { size } = fs.fstatSync(from);
    const page = Buffer.alloc(PAGE);
    for (const at of this.#dirtyPages()) {
      fs.writeSync(to, page, 0, fs.readSync(from, page, 0, PAGE, at), at);
    }
    fs.ftruncateSync(to, size);
    fs.closeSync(from);
    fs.closeSync(to);
  }

  /** The offsets of dirty pages. */
  #dirtyPages(): number[] {
    const pages = Array.from({ length: this.#bits.length * 8 }, (_, bit) => bit);
    return pages
      .filter((bit) => ((this.#bits[bit >>> 3] as number) & (1 << (bit & 7))) !== 0)
      .map((bit) => bit * PAGE);
  }

  /** Begins anew, as after a take that succeeded. */
  clear(): void {
    this.#bits = Buffer.alloc(this.#bits.length);
  }
}
