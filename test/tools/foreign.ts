// qcow2 files that QEMU makes: an image converted to one, then written to in every way that qemu-io knows,
// with internal snapshots between the writes.

import fs from 'node:fs';
import { join } from 'node:path';
import { Random } from './files.js';
import { qemuImg } from './qemu.js';
import { runToEnd } from './spawn.js';

const KiB = 1024;
const SECTOR = 512;

/** How a file is made. */
export interface Recipe {
  /** Options of its creation, as qemu-img has them: `cluster_size=4k,compat=1.1`. */
  readonly options: string;
  /** Bytes; what is left of a sector at its end is filled up by QEMU. */
  readonly imageBytes: number;
  /** Converts with compressed clusters, and writes some later. */
  readonly compressed?: boolean;
  /** Adds a dirty bitmap before the first snapshot. */
  readonly bitmap?: boolean;
  readonly seed?: number;
  /** With refcounts of one bit only what holds nothing can have a snapshot. */
  readonly single?: boolean;
}

/** A file of QEMU's, and the tags of its snapshots. */
export interface Foreign {
  readonly path: string;
  readonly tags: readonly string[];
}

/** Runs qemu-img, which must succeed. */
export const qemu = (...args: string[]): string => {
  const { status, stdout, stderr } = qemuImg(args);
  if (status !== 0) throw new Error(`qemu-img ${args.join(' ')}: ${stderr}`);
  return stdout;
};

/** Lets qemu-io work on a file; without `strict` it may refuse some of the commands. */
export const qemuIo = (path: string, commands: readonly string[], strict = true): void => {
  if (commands.length === 0) return;
  const args = ['-f', 'qcow2', '-d', 'unmap', ...commands.flatMap((c) => ['-c', c]), path];
  const { status, stdout, stderr } = runToEnd('qemu-io', args);
  const refused = stdout.split('\n').filter((line) => /failed/.test(line));
  if (strict && (status !== 0 || refused.length > 0)) {
    throw new Error(`qemu-io ${path}: ${refused.join('; ')} ${stderr}`);
  }
};

/** The cluster size that a recipe's options name, in bytes; QEMU's own is 64 KiB. */
const clusterSizeOf = ({ options }: Recipe): number => {
  const [, digits, unit = ''] = /cluster_size=(\d+)([kM]?)/.exec(options) ?? [];
  return Number(digits ?? 64 * KiB) * (unit === 'M' ? KiB * KiB : unit === 'k' ? KiB : 1);
};

/** Data, zeros and holes; the last quarter is a hole but for its end. */
const makeRaw = (path: string, bytes: number, random: Random): void => {
  const fd = fs.openSync(path, 'w');
  fs.ftruncateSync(fd, bytes);
  const piece = Math.floor(bytes / 16);
  for (let i = 0; i < 12; i += 1) {
    const way = random.below(4);
    const data = Buffer.alloc(piece, 'as easy to pack as words are ');
    if (way === 1) data.fill(0);
    if (way >= 2) data.set(random.bytes(piece));
    if (way > 0 || i === 0) fs.writeSync(fd, data, 0, piece, i * piece + random.below(piece / 2));
  }
  fs.writeSync(fd, random.bytes(700), 0, 700, bytes - 700);
  fs.closeSync(fd);
};

/** Compressed clusters where there was nothing at first. */
const packedWrites = (recipe: Recipe, random: Random): string[] => {
  const clusterSize = clusterSizeOf(recipe);
  const clusters = Math.floor(recipe.imageBytes / clusterSize);
  const first = Math.floor(clusters * 0.8);
  return random
    .pick(Math.min(4, clusters - first), clusters - first)
    .map((i) => `write -c -P ${(i % 200) + 1} ${(first + i) * clusterSize} ${clusterSize}`);
};

/** Writes, zeros and discards. */
const writesFor = (recipe: Recipe, random: Random): string[] => {
  const commands: string[] = [];
  const clusterSize = clusterSizeOf(recipe);
  const sectors = Math.floor(recipe.imageBytes / SECTOR);
  for (let i = 0; i < 24; i += 1) {
    const longest = random.below(3) === 0 ? 4 * clusterSize : clusterSize / 4;
    const at = random.below(sectors);
    const most = Math.min(sectors - at, Math.max(1, longest / SECTOR));
    const [from, length] = [at * SECTOR, (1 + random.below(most)) * SECTOR];
    const way = random.below(8);
    const verb = ['discard', 'write -z', 'write -z -u'][way] ?? `write -P ${1 + random.below(255)}`;
    commands.push(`${verb} ${from} ${length}`);
  }
  return commands;
};

/** Makes a file; throws when qemu-img will not. */
export const makeForeign = (folder: string, recipe: Recipe): Foreign => {
  const home = fs.mkdtempSync(join(folder, 'foreign-'));
  const path = join(home, 'theirs.qcow2');
  const raw = join(home, 'raw');
  const random = new Random(recipe.seed ?? 1);
  if (recipe.single) {
    const sectors = Math.ceil(recipe.imageBytes / SECTOR);
    qemu('create', '-q', '-f', 'qcow2', '-o', recipe.options, path, String(sectors * SECTOR));
  } else {
    makeRaw(raw, recipe.imageBytes, random);
    const compress = recipe.compressed ? ['-c'] : [];
    qemu('convert', '-O', 'qcow2', '-f', 'raw', '-o', recipe.options, ...compress, raw, path);
    fs.rmSync(raw);
    qemuIo(path, writesFor(recipe, random));
  }
  if (recipe.bitmap) qemu('bitmap', '--add', '-g', '4k', path, 'dirty');
  const tags = recipe.single ? ['one'] : ['one', 'two'];
  for (const tag of tags) {
    qemu('snapshot', '-c', tag, path);
    // QEMU refuses them where a cluster is the disk's own already.
    if (recipe.compressed) qemuIo(path, packedWrites(recipe, random), false);
    qemuIo(path, writesFor(recipe, random));
  }
  return { path, tags };
};
