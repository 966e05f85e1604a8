// Memory is bounded by the slabs, not by the image: 4 GiB of real data, and 1 TiB with data strewn
// over it, in every codec, and by a bitmap. The slice does the same on less data.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeImage } from '../../bench/index.js';
import { bitmapBytes, GiB, KiB, MiB, setBits, TiB } from '../../disk/index.js';
import { list, restore, take } from '../../snapshot/index.js';
import { Random, sameFile, tempDir } from '../tools/files.js';
import { assertFootprint, footprint } from '../tools/footprint.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout((FULL ? 60 : 10) * 60_000);

const CODECS = ['zstd', 'zlib', 'none', 'lz4'] as const;
const DENSE_BYTES = FULL ? 4 * GiB : GiB;
const STREWN_BYTES = FULL ? GiB : 128 * MiB;
const STREWN_CODECS = FULL ? CODECS : (['zstd', 'lz4'] as const);
/** Data of the sparse image comes in pieces of this, evenly spread: 1024 tables for 1 GiB. */
const PIECE_BYTES = MiB;

/** Takes and restores `image` in each codec; `dataBytes` of it are no holes. */
const assertCodecs = async (
  t: Test,
  dir: string,
  image: string,
  {
    codecs,
    dataBytes,
    same,
  }: {
    codecs: readonly (typeof CODECS)[number][];
    dataBytes: number;
    same: (output: string) => boolean;
  },
): Promise<void> => {
  for (const codec of codecs) {
    const store = join(dir, 'store.qcow2');
    const output = join(dir, 'output.img');
    const what = { dataBytes, codec };
    const taking = { image, store, tag: 'a', compression: codec };
    await assertFootprint(t, `take ${codec}`, { verb: 'take', options: taking }, what);
    // A full scan against a parent: other stages are busy.
    const again = { image, store, tag: 'b' };
    await assertFootprint(t, `next take ${codec}`, { verb: 'take', options: again }, what);
    const restoring = { store, snapshot: 'b', output };
    await assertFootprint(t, `restore ${codec}`, { verb: 'restore', options: restoring }, what);
    t.ok(same(output), `${codec}: restored as it was`);
    for (const path of [store, output]) fs.rmSync(path);
  }
};

t.test(`${DENSE_BYTES / GiB} GiB of real data`, async (t) => {
  const dir = tempDir(t);
  const image = join(dir, 'image');
  await makeImage({ path: image, size: DENSE_BYTES, seed: 6 });
  const same = (output: string): boolean => sameFile(image, output);
  await assertCodecs(t, dir, image, { codecs: CODECS, dataBytes: DENSE_BYTES, same });
});

/** Spreads the pieces of a file evenly over a sparse one of `size` bytes. */
const strew = (from: string, to: string, size: number): void => {
  const piece = Buffer.alloc(PIECE_BYTES);
  const [source, target] = [fs.openSync(from, 'r'), fs.openSync(to, 'wx')];
  fs.ftruncateSync(target, size);
  const pieces = fs.fstatSync(source).size / PIECE_BYTES;
  for (let i = 0; i < pieces; i += 1) {
    fs.readSync(source, piece, 0, PIECE_BYTES, i * PIECE_BYTES);
    fs.writeSync(target, piece, 0, PIECE_BYTES, placeOf(i, pieces, size));
  }
  for (const fd of [source, target]) fs.closeSync(fd);
};

/** Where piece `i` lies: the last one at the very end. */
const placeOf = (i: number, pieces: number, size: number): number =>
  Math.floor((i + 1) * (size / pieces)) - PIECE_BYTES;

/** True when `output` has the pieces of `from` where they belong, and as much data as the pieces. */
const isStrewn = (from: string, output: string, size: number): boolean => {
  const [a, b] = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)];
  const [source, target] = [fs.openSync(from, 'r'), fs.openSync(output, 'r')];
  const stat = fs.fstatSync(target);
  const pieces = fs.fstatSync(source).size / PIECE_BYTES;
  let same = stat.size === size && stat.blocks * 512 <= 1.1 * pieces * PIECE_BYTES;
  for (let i = 0; i < pieces && same; i += 1) {
    fs.readSync(source, a, 0, PIECE_BYTES, i * PIECE_BYTES);
    fs.readSync(target, b, 0, PIECE_BYTES, placeOf(i, pieces, size));
    same = a.equals(b);
  }
  for (const fd of [source, target]) fs.closeSync(fd);
  return same;
};

t.test(`1 TiB with ${STREWN_BYTES / MiB} MiB of data`, async (t) => {
  const dir = tempDir(t);
  const data = join(dir, 'data');
  const image = join(dir, 'image');
  await makeImage({ path: data, size: STREWN_BYTES, seed: 7 });
  strew(data, image, TiB);
  const same = (output: string): boolean => isStrewn(data, output, TiB);
  await assertCodecs(t, dir, image, { codecs: STREWN_CODECS, dataBytes: STREWN_BYTES, same });
});

const PAGE = 4 * KiB;
const CLUSTER = 64 * KiB;
const CHANGED_BYTES = 64 * MiB;
/** The bitmap alone has 32 MiB, and 5 bytes go to each cluster of the store. */
const PEAK_BYTES = 512 * MiB;

/** Writes noise to as much of every piece, in the sparse image and in the file of its pieces; fills in a bitmap. */
const change = (from: string, image: string, size: number, bits: Uint8Array): void => {
  const random = new Random(9);
  const [source, target] = [fs.openSync(from, 'r+'), fs.openSync(image, 'r+')];
  const pieces = fs.fstatSync(source).size / PIECE_BYTES;
  const clusters = CHANGED_BYTES / CLUSTER / pieces;
  for (let i = 0; i < pieces * clusters; i += 1) {
    const piece = i % pieces;
    // Every other cluster, so that none adjoins the next.
    const within = 2 * Math.floor(i / pieces) * CLUSTER;
    const at = placeOf(piece, pieces, size) + within;
    const noise = random.bytes(CLUSTER);
    fs.writeSync(source, noise, 0, CLUSTER, piece * PIECE_BYTES + within);
    fs.writeSync(target, noise, 0, CLUSTER, at);
    setBits(bits, PAGE, { start: at, end: at + CLUSTER });
  }
  for (const fd of [source, target]) fs.closeSync(fd);
};

t.test(`1 TiB by bitmap, ${CHANGED_BYTES / MiB} MiB changed`, async (t) => {
  const dir = tempDir(t);
  const [data, image, store, bitmap, output] = ['data', 'image', 'store', 'bitmap', 'output'].map(
    (name) => join(dir, name),
  ) as [string, string, string, string, string];
  await makeImage({ path: data, size: STREWN_BYTES, seed: 8 });
  strew(data, image, TiB);
  const bits = Buffer.alloc(bitmapBytes(TiB, PAGE));
  const dirty = `bitmap:${bitmap}`;
  fs.writeFileSync(bitmap, bits);
  await take({ image, store, tag: 'a', compression: 'none', dirty });
  change(data, image, TiB, bits);
  fs.writeFileSync(bitmap, bits);
  const options = { image, store, tag: 'b', dirty };
  const { peak, readBytes } = await footprint({ verb: 'take', options });
  t.ok(peak <= PEAK_BYTES, `peak ${Math.round(peak / MiB)} MiB, at most ${PEAK_BYTES / MiB} MiB`);
  t.equal(readBytes, CHANGED_BYTES, 'what the bitmap names is read');
  const [, b] = await list({ store });
  t.match(b, { dirty: 'bitmap', storedBytes: CHANGED_BYTES }, 'and stored');
  await restore({ store, snapshot: 'b', output });
  t.ok(isStrewn(data, output, TiB), 'restored as it was');
});
