// Every codec with every kind of cluster size, on one evolving file system.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CodecName, info, type TakeOptions, take } from '../../snapshot/index.js';
import { evolvingImage } from '../tools/evolving.js';
import { copyState, tempDir } from '../tools/files.js';
import { BOTH, Judge, type Reader, type State } from '../tools/judge.js';
import { checkClean, qemuImg } from '../tools/qemu.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const TAKES = 3;
const CLUSTER_SIZES = [4 * KiB, 16 * KiB, 64 * KiB, 2 * MiB];
const STANDARD: readonly CodecName[] = ['zstd', 'zlib', 'none'];

t.setTimeout(240_000);

/** The same three states for all combinations, so that they can be compared. */
const makeStates = (t: Test, folder: string): readonly State[] => {
  const image = evolvingImage(t, folder, { bytes: 24 * MiB, fill: 12 * MiB });
  const states = new Judge(folder, '');
  for (let i = 0; i < TAKES; i += 1) {
    if (i > 0) image.evolve();
    states.remember(image.path, `take-${i}`);
  }
  return states.states;
};

const QEMU_NAME: Readonly<Record<string, string>> = { zstd: 'zstd', zlib: 'zlib', none: 'zlib' };

type Settings = Pick<TakeOptions, 'compression' | 'clusterSize' | 'digest'>;

/** Takes all states of one image into a new store, judges them and returns the store's path. */
const takeAndJudge = async (
  t: Test,
  folder: string,
  states: readonly State[],
  settings: Settings,
  readers: readonly Reader[] = BOTH,
): Promise<string> => {
  const store = join(fs.mkdtempSync(join(folder, 'store-')), 'store.qcow2');
  // A store belongs to one image: the states come one after another under one name.
  const image = join(folder, 'image-taken');
  for (const { tag, copy } of states) {
    fs.rmSync(image, { force: true });
    copyState(copy, image);
    await take({ image, store, tag, ...settings });
    if (readers.includes('qemu-img')) checkClean(store);
  }
  await new Judge(folder, store, readers, states).all(t);
  return store;
};

const standardCodecs = async (t: Test, folder: string, states: readonly State[]): Promise<void> => {
  for (const clusterSize of CLUSTER_SIZES) {
    const sizes = new Map<CodecName, number>();
    for (const compression of STANDARD) {
      await t.test(`${compression} ${clusterSize / KiB}K`, async (t) => {
        const store = await takeAndJudge(t, folder, states, { compression, clusterSize });
        const about = JSON.parse(qemuImg(['info', '--output=json', store]).stdout);
        t.equal(about['cluster-size'], clusterSize);
        t.equal(about['format-specific'].data['compression-type'], QEMU_NAME[compression]);
        t.match(await info({ store }), { compression, clusterSize, standard: true });
        sizes.set(compression, fs.statSync(store).size);
        fs.rmSync(store);
      });
    }
    const [zstd = 0, zlib = 0, none = 0] = STANDARD.map((codec) => sizes.get(codec));
    t.ok(zstd < none * 0.7, 'zstd compresses', { zstd, none });
    t.ok(zlib < none * 0.7, 'zlib compresses', { zlib, none });
  }
};

const privateCodec = async (t: Test, folder: string, states: readonly State[]): Promise<void> => {
  for (const clusterSize of CLUSTER_SIZES) {
    await t.test(`lz4 ${clusterSize / KiB}K`, async (t) => {
      const settings = { compression: 'lz4', clusterSize } as const;
      const store = await takeAndJudge(t, folder, states, settings, ['restore']);
      t.match(await info({ store }), { compression: 'lz4', clusterSize, standard: false });
      for (const args of [
        ['check', store],
        ['info', store],
        ['snapshot', '-l', store],
      ]) {
        const { status, stderr } = qemuImg(args);
        t.not(status, 0, `qemu-img ${args[0]} refuses`);
        t.match(stderr, /Unsupported qcow2 feature\(s\): nvsnap lz4 clusters/);
      }
    });
  }
};

t.test('every codec with every cluster size', async (t) => {
  const folder = tempDir(t);
  const states = makeStates(t, folder);
  await t.test('codecs that QEMU reads', (t) => standardCodecs(t, folder, states));
  await t.test('lz4, which QEMU does not read, and says so', (t) =>
    privateCodec(t, folder, states),
  );
  await t.test('digests by BLAKE3', async (t) => {
    const store = await takeAndJudge(t, folder, states, { digest: 'blake3' });
    t.match(await info({ store }), { digest: 'blake3', standard: true });
  });
});
