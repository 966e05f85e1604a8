// Codecs and kinds of cluster size, on one evolving file system.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { KiB, MiB } from '../../disk/index.js';
import {
  type CodecName,
  info,
  Pools,
  type TakeOptions,
  type TakeResult,
  take,
} from '../../snapshot/index.js';
import { evolvingImage } from './evolving.js';
import { copyState, tempDir } from './files.js';
import { BOTH, Judge, type Reader, type State } from './judge.js';
import { checkClean, qemuImg } from './qemu.js';

const TAKES = 3;

export interface Combination {
  readonly compression: CodecName;
  readonly clusterSize: number;
}

const CLUSTER_SIZES: readonly number[] = [4 * KiB, 16 * KiB, 64 * KiB, 2 * MiB];
const CODECS: readonly CodecName[] = ['zstd', 'zlib', 'none', 'lz4'];

/** Every codec with every cluster size. */
export const ALL: readonly Combination[] = CODECS.flatMap((compression) =>
  CLUSTER_SIZES.map((clusterSize) => ({ compression, clusterSize })),
);

/** As on a chess board: every codec with two cluster sizes, every cluster size with two codecs. */
const isWhite = ({ compression, clusterSize }: Combination): boolean =>
  (CODECS.indexOf(compression) + CLUSTER_SIZES.indexOf(clusterSize)) % 2 === 0;

export const WHITE = ALL.filter(isWhite);
export const BLACK = ALL.filter((combination) => !isWhite(combination));

type Settings = Pick<TakeOptions, 'compression' | 'clusterSize' | 'digest'>;

/** The same three states for all combinations, so that they can be compared. */
export class Matrix {
  readonly #folder: string;
  readonly #states: readonly State[];
  readonly #pools = new Pools();

  constructor(t: Test, imageBytes: number) {
    this.#folder = tempDir(t);
    t.teardown(() => this.#pools.close());
    const image = evolvingImage(t, this.#folder, { bytes: imageBytes, fill: imageBytes / 2 });
    const judge = new Judge(this.#folder, '');
    for (let i = 0; i < TAKES; i += 1) {
      if (i > 0) image.evolve();
      judge.remember(image.path, `take-${i}`);
    }
    this.#states = judge.states;
  }

  /** Takes all states of one image into a new store and judges them. */
  async takeAndJudge(
    t: Test,
    settings: Settings,
    readers: readonly Reader[] = BOTH,
  ): Promise<{ store: string; takes: readonly TakeResult[] }> {
    const store = join(fs.mkdtempSync(join(this.#folder, 'store-')), 'store.qcow2');
    // A store belongs to one image: the states come one after another under one name.
    const image = join(this.#folder, 'image-taken');
    const takes: TakeResult[] = [];
    for (const { tag, copy } of this.#states) {
      fs.rmSync(image, { force: true });
      copyState(copy, image);
      takes.push(await take({ image, store, tag, pools: this.#pools, ...settings }));
      if (readers.includes('qemu-img')) checkClean(store);
    }
    await new Judge(this.#folder, store, readers, this.#states).all(t);
    return { store, takes };
  }

  /** Judges one combination. */
  async #judge(t: Test, combination: Combination): Promise<void> {
    const { compression, clusterSize } = combination;
    const isPrivate = compression === 'lz4';
    const { store, takes } = await this.takeAndJudge(
      t,
      combination,
      isPrivate ? ['restore'] : BOTH,
    );
    t.match(await info({ store }), { ...combination, standard: !isPrivate });
    if (isPrivate) judgeRefusals(t, store);
    else judgeInfo(t, store, combination);
    const packed = takes.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
    const plain = takes.reduce((sum, { storedClusters }) => sum + storedClusters * clusterSize, 0);
    if (compression === 'none') t.equal(packed, plain, 'as many bytes as they are');
    else t.ok(packed < plain * 0.7, 'it compresses', { packed, plain });
    fs.rmSync(store);
  }

  /** Judges some combinations, each in a test of its own. */
  async judge(t: Test, combinations: readonly Combination[]): Promise<void> {
    for (const combination of combinations) {
      const { compression, clusterSize } = combination;
      await t.test(`${compression} ${clusterSize / KiB}K`, (t) => this.#judge(t, combination));
    }
  }
}

const QEMU_NAME: Readonly<Record<string, string>> = { zstd: 'zstd', zlib: 'zlib', none: 'zlib' };

/** QEMU sees what was asked for. */
const judgeInfo = (t: Test, store: string, { compression, clusterSize }: Combination): void => {
  const about = JSON.parse(qemuImg(['info', '--output=json', store]).stdout);
  t.equal(about['cluster-size'], clusterSize);
  t.equal(about['format-specific'].data['compression-type'], QEMU_NAME[compression]);
};

/** QEMU refuses what it cannot read, and says why. */
const judgeRefusals = (t: Test, store: string): void => {
  for (const args of [
    ['check', store],
    ['info', store],
    ['snapshot', '-l', store],
  ]) {
    const { status, stderr } = qemuImg(args);
    t.not(status, 0, `qemu-img ${args[0]} refuses`);
    t.match(stderr, /Unsupported qcow2 feature\(s\): nvsnap lz4 clusters/);
  }
};
