// Sparse images of any length with the same data in them, spread out in pieces, and the bitmap of a tracker that
// sees all that is written.

import fs from 'node:fs';
import { bitmapBytes, KiB, MiB, setBits } from '../../disk/index.js';
import { Random } from './random.js';

const PAGE = 4 * KiB;
const CLUSTER = 64 * KiB;
const PIECES = 128;
const CHUNK_BYTES = 4 * MiB;

export class SparseImage {
  readonly path: string;
  /** Path of the tracker's bitmap. */
  readonly bitmap: string;
  /** Bytes of the image, and of each piece of data in it. */
  readonly size: number;
  readonly #piece: number;
  readonly #step: number;

  /** Copies the data of `dense`, a file of `bytes` bytes, into a new file of `size` bytes. */
  constructor(path: string, size: number, dense: string, bytes: number) {
    this.path = path;
    this.bitmap = `${path}.dirty`;
    this.size = size;
    this.#piece = Math.floor(bytes / PIECES / CLUSTER) * CLUSTER;
    this.#step = Math.floor(size / PIECES / CLUSTER) * CLUSTER;
    const [from, to] = [fs.openSync(dense, 'r'), fs.openSync(path, 'w')];
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    try {
      for (let piece = 0; piece < PIECES; piece += 1) {
        for (let at = 0; at < this.#piece; at += CHUNK_BYTES) {
          const most = Math.min(CHUNK_BYTES, this.#piece - at);
          const got = fs.readSync(from, chunk, 0, most, piece * this.#piece + at);
          fs.writeSync(to, chunk, 0, got, piece * this.#step + at);
        }
      }
      fs.ftruncateSync(to, size);
    } finally {
      fs.closeSync(from);
      fs.closeSync(to);
    }
    this.#save(Buffer.alloc(bitmapBytes(size, PAGE)));
  }

  #save(bits: Buffer): void {
    fs.writeFileSync(this.bitmap, bits);
  }

  /** Overwrites so many clusters with noise, anywhere in the data, and says so in the bitmap. */
  change(clusters: number, seed: number): void {
    const random = new Random(seed);
    const bits = Buffer.alloc(bitmapBytes(this.size, PAGE));
    const noise = Buffer.allocUnsafe(CLUSTER);
    const fd = fs.openSync(this.path, 'r+');
    try {
      for (let i = 0; i < clusters; i += 1) {
        const piece = random.between(0, PIECES - 1) * this.#step;
        const at = piece + random.between(0, this.#piece / CLUSTER - 1) * CLUSTER;
        random.fill(noise);
        fs.writeSync(fd, noise, 0, CLUSTER, at);
        setBits(bits, PAGE, { start: at, end: at + CLUSTER });
      }
    } finally {
      fs.closeSync(fd);
    }
    this.#save(bits);
  }
}
