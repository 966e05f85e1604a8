// Small sound stores for a mutator to begin with: ours in every codec, and QEMU's in many shapes.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { type CodecName, info, take } from '../../snapshot/index.js';
import { Random } from './files.js';
import { qemuImg } from './qemu.js';

/** A sound store to be mutated. */
export interface Seed {
  readonly name: string;
  readonly raw: Buffer;
  readonly tags: readonly string[];
  /** Made by nvsnap: it can be written to. */
  readonly own: boolean;
}

const KiB = 1024;
const IMAGE_BYTES = 56 * KiB + 100;

/** Text, a little noise, a hole and a short tail; each version differs from the last. */
export const hostImage = (version: number): Buffer => {
  const image = Buffer.alloc(IMAGE_BYTES);
  const random = new Random(9);
  for (let at = 0; at < IMAGE_BYTES; at += 4 * KiB) {
    image.fill(random.bytes(90).toString('hex'), at, Math.min(at + 4 * KiB, IMAGE_BYTES));
  }
  random.bytes(8 * KiB).copy(image, 12 * KiB);
  image.fill(0, 28 * KiB, 36 * KiB);
  image.fill(`version ${version} `, 40 * KiB, 44 * KiB);
  return image;
};

const ownSeed = async (folder: string, compression: CodecName): Promise<Seed> => {
  const [image, store] = [join(folder, 'image'), join(folder, 'store')];
  const tags = ['one', 'two', 'three'];
  for (const [version, tag] of tags.entries()) {
    fs.writeFileSync(image, hostImage(version));
    await take({ image, store, tag, compression, clusterSize: 4 * KiB, threads: 1 });
  }
  const raw = fs.readFileSync(store);
  for (const path of [image, store]) fs.rmSync(path);
  return { name: `nvsnap ${compression}`, raw, tags, own: true };
};

/** A shape of QEMU's files. */
interface Shape {
  readonly compat: '0.10' | '1.1';
  readonly type: 'zlib' | 'zstd';
  readonly clusterSize: number;
  readonly refcountBits: number;
}

const SHAPES: readonly Shape[] = [
  { compat: '0.10', type: 'zlib', clusterSize: 4 * KiB, refcountBits: 16 },
  { compat: '0.10', type: 'zlib', clusterSize: 64 * KiB, refcountBits: 16 },
  { compat: '1.1', type: 'zlib', clusterSize: 512, refcountBits: 16 },
  { compat: '1.1', type: 'zstd', clusterSize: 4 * KiB, refcountBits: 64 },
  { compat: '1.1', type: 'zlib', clusterSize: 4 * KiB, refcountBits: 8 },
  { compat: '1.1', type: 'zstd', clusterSize: 64 * KiB, refcountBits: 32 },
  // Too narrow to count a snapshot's share: it gets none.
  { compat: '1.1', type: 'zstd', clusterSize: 4 * KiB, refcountBits: 1 },
];

const run = (args: readonly string[]): void => {
  const { status, stderr } = qemuImg(args);
  if (status !== 0) throw new Error(`qemu-img ${args.join(' ')} exits ${status}: ${stderr}`);
};

const qemuSeed = (folder: string, shape: Shape): Seed => {
  const { compat, type, clusterSize, refcountBits } = shape;
  const [image, store] = [join(folder, 'image'), join(folder, 'store')];
  const options =
    compat === '0.10'
      ? `compat=0.10,cluster_size=${clusterSize}`
      : `compat=1.1,cluster_size=${clusterSize},compression_type=${type},refcount_bits=${refcountBits}`;
  fs.writeFileSync(image, hostImage(0));
  run(['convert', '-q', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, image, store]);
  const tags = refcountBits === 1 ? [] : ['one', 'two'];
  for (const [n, tag] of tags.entries()) {
    run(['snapshot', '-c', tag, store]);
    const writes = [`write -q -P ${n + 1} ${n * 16}k 8k`, 'write -q -z 20k 4k'];
    execFileSync('qemu-io', ['-f', 'qcow2', ...writes.flatMap((w) => ['-c', w]), store]);
  }
  if (compat === '1.1') run(['bitmap', '--add', store, 'dirty']);
  const raw = fs.readFileSync(store);
  for (const path of [image, store]) fs.rmSync(path);
  const name = `qemu ${compat} ${type} ${clusterSize} ${refcountBits}`;
  return { name, raw, tags, own: false };
};

/** Makes all of them, each checked to be what it should be. */
export const makeSeeds = async (folder: string): Promise<readonly Seed[]> => {
  const seeds: Seed[] = [];
  for (const codec of ['zstd', 'zlib', 'none', 'lz4'] as const) {
    seeds.push(await ownSeed(folder, codec));
  }
  for (const shape of SHAPES) seeds.push(qemuSeed(folder, shape));
  const path = join(folder, 'seed');
  for (const { raw, tags, name } of seeds) {
    fs.writeFileSync(path, raw);
    const { snapshots } = await info({ store: path });
    const found = snapshots.map(({ tag }) => tag).join();
    if (found !== tags.join()) throw new Error(`${name} holds ${found}`);
  }
  fs.rmSync(path);
  return seeds;
};
