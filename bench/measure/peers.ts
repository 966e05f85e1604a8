// The programs we are measured beside: whether they are here, which version, and how they are called.

import { spawnSync } from 'node:child_process';
import { type Command, shell } from './process.js';

/** Concurrent requests and out-of-order writes: qemu-img at its fastest. */
const QEMU_FAST = ['-m', '16', '-W'];
/** Flush at the end, as our own commit does. */
const QEMU_FLUSH = ['-t', 'writeback'];

export interface Peer {
  readonly name: string;
  /** What the program says of itself; undefined when it is not installed. */
  readonly version: string | undefined;
}

/** How each is asked for its version. */
const PEERS: Readonly<Record<string, string>> = {
  'qemu-img': '--version',
  borg: '--version',
  restic: 'version',
  casync: '--version',
  zstd: '--version',
  cp: '--version',
  dd: '--version',
  cmp: '--version',
};

/** The first line that a program prints when asked for its version. */
const versionOf = (program: string, argument: string): string | undefined => {
  const { status, stdout } = spawnSync(program, [argument], { encoding: 'utf8' });
  return status === 0 ? stdout.trim().split('\n', 1)[0] : undefined;
};

export const findPeers = (): readonly Peer[] =>
  Object.entries(PEERS).map(([name, argument]) => ({ name, version: versionOf(name, argument) }));

/** Ourselves, as a user's shell starts us; what was done comes as JSON. */
export const nvsnap = (program: string, ...args: readonly string[]): Command => ({
  program: process.execPath,
  args: [program, ...args, '--json', '--quiet'],
});

/** What Node takes to start and do nothing. */
export const emptyNode: Command = { program: process.execPath, args: ['-e', '0'] };

export const qemuToQcow2 = (
  image: string,
  out: string,
  codec: 'zstd' | 'zlib' | 'none',
): Command => ({
  program: 'qemu-img',
  args: [
    'convert',
    ...(codec === 'none' ? [] : ['-c', '-o', `compression_type=${codec},cluster_size=64k`]),
    ...QEMU_FAST,
    ...QEMU_FLUSH,
    ...['-f', 'raw', '-O', 'qcow2', image, out],
  ],
});

/** One snapshot of a store back to a raw file. */
export const qemuRestore = (store: string, tag: string, out: string): Command => ({
  program: 'qemu-img',
  args: [
    'convert',
    ...['-l', `snapshot.name=${tag}`],
    ...QEMU_FAST,
    ...QEMU_FLUSH,
    ...['-f', 'qcow2', '-O', 'raw', store, out],
  ],
});

/** Equal content of two disks, whatever their formats; only fails or succeeds. */
export const qemuCompare = (image: string, other: string): Command => ({
  program: 'qemu-img',
  args: ['compare', '-f', 'raw', '-F', 'qcow2', image, other],
});

export const qemuImg = (...args: readonly string[]): Command => ({ program: 'qemu-img', args });

/** The image read by two processes at once, each one half, and thrown away. */
export const ddHalves = (image: string, size: number): readonly Command[] => {
  const half = Math.ceil(size / 2 ** 20 / 2);
  const read = (...more: readonly string[]): Command => ({
    program: 'dd',
    args: [`if=${image}`, 'of=/dev/null', 'bs=1M', ...more],
  });
  return [read(`count=${half}`), read(`skip=${half}`)];
};

/** Copies that look at no byte (dd), or only for zeros (cp). */
export const ddCopy = (image: string, out: string): Command => ({
  program: 'dd',
  args: [`if=${image}`, `of=${out}`, 'bs=4M', 'conv=fsync'],
});

export const cpSparse = (image: string, out: string): Command => ({
  program: 'cp',
  args: ['--sparse=always', '--reflink=never', image, out],
});

/** Every byte that differs, counted; written to nowhere, cmp would stop at the first. */
export const cmpAll = (image: string, other: string): Command =>
  shell('cmp -l "$0" "$1" | wc -l', [image, other]);
