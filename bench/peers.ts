// The programs we are measured beside: whether they are here, which version, and how they are called.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command } from './measure.js';

/** Concurrent requests and out-of-order writes: qemu-img at its fastest. */
const QEMU_FAST = ['-m', '16', '-W'];
/** Flush at the end, as our own commit does. */
const QEMU_FLUSH = ['-t', 'writeback'];

export interface Peer {
  readonly name: string;
  /** What the program says of itself; undefined when it is not installed. */
  readonly version: string | undefined;
}

/** The first line that a program prints when asked for its version. */
const versionOf = (program: string, argument: string): string | undefined => {
  const { status, stdout } = spawnSync(program, [argument], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n', 1)[0] : undefined;
};

export const findPeers = (): readonly Peer[] => [
  { name: 'qemu-img', version: versionOf('qemu-img', '--version') },
  { name: 'borg', version: versionOf('borg', '--version') },
  { name: 'restic', version: versionOf('restic', 'version') },
  { name: 'dd', version: versionOf('dd', '--version') },
  { name: 'cmp', version: versionOf('cmp', '--version') },
];

const CLI = fileURLToPath(new URL('../run/nvsnap.js', import.meta.url));

/** Ourselves, as a user's shell starts us. */
export const nvsnap = (...args: readonly string[]): Command => ({
  program: process.execPath,
  args: [CLI, ...args, '--quiet'],
});

export const qemuToQcow2 = (image: string, out: string, compressed: boolean): Command => {
  const codec = compressed ? ['-c', '-o', 'compression_type=zstd,cluster_size=64k'] : [];
  return {
    program: 'qemu-img',
    args: [
      'convert',
      ...codec,
      ...QEMU_FAST,
      ...QEMU_FLUSH,
      ...['-f', 'raw', '-O', 'qcow2', image, out],
    ],
  };
};

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

/** borg on a repository in `folder`: asks nothing and keeps its caches there. */
export const borg = (folder: string, ...args: readonly string[]): Command => ({
  program: 'borg',
  args,
  env: {
    BORG_BASE_DIR: folder,
    BORG_REPO: `${folder}/repository`,
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
  },
});

/** restic on a repository in `folder`: asks nothing and keeps its caches there. */
export const restic = (folder: string, ...args: readonly string[]): Command => ({
  program: 'restic',
  args: ['--quiet', ...args],
  env: {
    RESTIC_REPOSITORY: `${folder}/repository`,
    RESTIC_CACHE_DIR: `${folder}/cache`,
    RESTIC_PASSWORD: 'benchmark',
  },
});

/** The image read by two processes at once, each one half, and thrown away. */
export const ddHalves = (image: string, size: number): readonly Command[] => {
  const half = Math.ceil(size / 2 ** 20 / 2);
  const read = (...more: readonly string[]): Command => ({
    program: 'dd',
    args: [`if=${image}`, 'of=/dev/null', 'bs=1M', ...more],
  });
  return [read(`count=${half}`), read(`skip=${half}`)];
};

/** Every byte that differs, counted; written to nowhere, cmp would stop at the first. */
export const cmpAll = (image: string, other: string): Command => ({
  program: 'bash',
  args: ['-c', 'cmp -l "$0" "$1" | wc -l', image, other],
});
