// Images that grow and shrink between takes. Every older snapshot keeps its own size for our restore;
// qemu-img knows one disk size for the whole file, the largest, and gives zeros up to it.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { info, restore, take } from '../../snapshot/index.js';
import { patch, Random, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { qemuImg } from '../tools/qemu.js';
import { ownClusters } from '../tools/tables.js';

const KiB = 1024;
const MiB = 1024 * KiB;

t.setTimeout(240_000);

/** Cuts the image, or lengthens it with new data. */
const resize = (image: string, size: number, random: Random): void => {
  const before = fs.statSync(image).size;
  fs.truncateSync(image, size);
  if (size > before) patch(image, random.bytes(size - before), before);
};

const virtualSize = (store: string): number =>
  JSON.parse(qemuImg(['info', '--output=json', store]).stdout)['virtual-size'];

const growAndShrink = async (
  t: Test,
  clusterSize: number,
  sizes: readonly number[],
): Promise<void> => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const judge = new Judge(folder, store);
  const random = new Random(clusterSize);
  fs.writeFileSync(image, '');
  let largest = 0;
  let before = 0;
  for (const [i, size] of sizes.entries()) {
    resize(image, size, random);
    largest = Math.max(largest, size);
    const tag = `${i}-${size}`;
    judge.remember(image, tag);
    const done = await take({ image, store, tag, clusterSize });
    // New data and a tail cluster that is now longer or shorter; the rest is the parent's.
    const kept = Math.floor(Math.min(before, size) / clusterSize);
    const most = Math.ceil(size / clusterSize) - kept;
    t.equal(done.imageBytes, size);
    t.ok(done.storedClusters <= most, 'the common part is shared', {
      stored: done.storedClusters,
      most,
    });
    if (i > 0) {
      const own = ownClusters(store, `${i - 1}-${before}`, tag);
      t.ok(
        own.every((cluster) => cluster >= kept),
        'nothing in the common part is stored again',
      );
    }
    t.equal(virtualSize(store), Math.ceil(largest / 512) * 512, 'the disk is the largest image');
    await judge.all(t);
    before = size;
  }
};

t.test('4-KiB clusters: within a cluster, over one, over an L2 and L1 boundary, and back', (t) =>
  growAndShrink(t, 4 * KiB, [
    3 * MiB + 100,
    3 * MiB + 1000,
    3 * MiB + 5000,
    9 * MiB,
    9 * MiB - 1,
    MiB + 17,
    5 * MiB + 13,
  ]),
);

t.test('64-KiB clusters: from nothing to something, and to nothing', (t) =>
  growAndShrink(t, 64 * KiB, [0, 1, 3 * MiB, 0, 2 * MiB + 1]),
);

t.test(
  'the digests outgrow their index: sparse growth past 256 MiB in 4-KiB clusters',
  async (t) => {
    // 256 digests fit in a 4-KiB cluster and 256 such clusters in the first one of the index.
    const folder = tempDir(t);
    const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
    const judge = new Judge(folder, store);
    const random = new Random(9);
    fs.writeFileSync(image, '');
    for (const size of [255 * MiB, 258 * MiB + 5, 250 * MiB]) {
      fs.truncateSync(image, size);
      for (const place of random.pick(20, size - 4 * KiB)) patch(image, random.bytes(3000), place);
      const tag = `${size} bytes`;
      judge.remember(image, tag);
      const done = await take({ image, store, tag, clusterSize: 4 * KiB });
      t.ok(done.storedClusters <= 40, 'only the writes are stored', {
        stored: done.storedClusters,
      });
    }
    await judge.all(t);
  },
);

t.test('shrunk, and grown back with the same bytes', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const judge = new Judge(folder, store);
  const whole = new Random(2).bytes(5 * MiB + 77);
  const contents = [
    whole,
    whole.subarray(0, 2 * MiB + 5000),
    whole,
    Buffer.alloc(whole.length),
    whole.subarray(0, MiB),
    Buffer.concat([whole.subarray(0, MiB), Buffer.alloc(4 * MiB)]),
    whole,
  ];
  for (const [i, content] of contents.entries()) {
    fs.writeFileSync(image, content);
    judge.remember(image, `state ${i}`);
    await take({ image, store, tag: `state ${i}`, clusterSize: 4 * KiB });
  }
  await judge.all(t);
});

t.test('a smaller image after a larger one keeps its own size', async (t) => {
  const folder = tempDir(t);
  const [image, store, output] = ['image', 'store.qcow2', 'out'].map((name) => join(folder, name));
  const options = { image: image as string, store: store as string };
  fs.writeFileSync(options.image, new Random(1).bytes(3 * MiB + 11));
  await take({ ...options, tag: 'large' });
  fs.truncateSync(options.image, MiB + 3);
  await take({ ...options, tag: 'small' });
  const done = await restore({ store: options.store, snapshot: 'small', output: output as string });
  t.equal(done.imageBytes, MiB + 3);
  t.equal(fs.statSync(output as string).size, MiB + 3);
  const { diskBytes, snapshots } = await info({ store: options.store });
  t.equal(diskBytes, 3 * MiB + 512);
  t.same(
    snapshots.map(({ imageBytes }) => imageBytes),
    [3 * MiB + 11, MiB + 3],
  );
});
