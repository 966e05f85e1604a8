// examples/tee.js: the second place holds each changed cluster where it lies in the image, and nothing else.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { alignExtents, dataExtents } from '../../disk/index.js';
import { Fault, Pools, restore, take } from '../../snapshot/index.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { abortWhen, BATCH_BYTES, CLUSTER, example, mixedImage, SMALL_MEMORY } from './images.js';

t.setTimeout(240_000);

const openTrial = (t: Test) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const pools = new Pools();
  t.teardown(() => pools.close());
  fs.writeFileSync(image, mixedImage(3));
  const asked = { image, store, clusterSize: CLUSTER, memory: SMALL_MEMORY, pools };
  const takeTo = (tag: string, to: string) =>
    take({ ...asked, tag, stages: [example('tee', { to }, { threads: 2 })] });
  return { folder, image, store, pools, takeTo };
};

/** The clusters that are data in a file. */
const clustersIn = (path: string): number[] => {
  const fd = fs.openSync(path, 'r');
  try {
    const { size } = fs.fstatSync(fd);
    const clusters: number[] = [];
    for (const { start, end } of alignExtents(
      dataExtents(fd, { start: 0, end: size }),
      CLUSTER,
      size,
    )) {
      for (let at = start; at < end; at += CLUSTER) clusters.push(at / CLUSTER);
    }
    return clusters;
  } finally {
    fs.closeSync(fd);
  }
};

/** The clusters of `image` that are not zeros and differ from `before`'s, padded with zeros where that is shorter. */
const changedIn = (image: Buffer, before: Buffer): number[] => {
  const clusters: number[] = [];
  for (let i = 0; i * CLUSTER < image.length; i += 1) {
    const now = image.subarray(i * CLUSTER, (i + 1) * CLUSTER);
    const then = before.subarray(i * CLUSTER, (i + 1) * CLUSTER);
    if (now.some((byte) => byte !== 0) && !now.equals(then)) clusters.push(i);
  }
  return clusters;
};

const holdsExactly = (t: Test, path: string, image: Buffer, clusters: readonly number[]): void => {
  t.same(clustersIn(path), clusters, 'data where something has changed, holes elsewhere');
  const bytes = fs.readFileSync(path);
  const expected = Buffer.alloc(bytes.length);
  for (const i of clusters) image.copy(expected, i * CLUSTER, i * CLUSTER, (i + 1) * CLUSTER);
  t.ok(bytes.equals(expected), 'each byte is the image’s');
};

t.test('a complete copy, a difference, and none', async (t) => {
  const { folder, image, store, pools, takeTo } = openTrial(t);
  const none = Buffer.alloc(0);
  const first = fs.readFileSync(image);
  const one = await takeTo('first', join(folder, 'one'));
  const stored = changedIn(first, none);
  holdsExactly(t, join(folder, 'one'), first, stored);
  const figures = { 'clusters copied': stored.length, 'clusters zeroed': 0 };
  t.match(one.summaries, [{ stage: 'tee', figures }], 'nothing was there that could become zero');

  const random = new Random(1);
  patch(image, random.bytes(3 * CLUSTER), BATCH_BYTES - CLUSTER - 5);
  patch(image, Buffer.alloc(2 * CLUSTER), 17 * CLUSTER);
  patch(image, Buffer.from('the end'), first.length - 7);
  const second = fs.readFileSync(image);
  const two = await takeTo('second', join(folder, 'two'));
  const changed = changedIn(second, first);
  t.equal(changed.length, 5);
  holdsExactly(t, join(folder, 'two'), second, changed);
  const bytes = 4 * CLUSTER + (first.length % CLUSTER);
  t.match(two.summaries, [
    { figures: { 'clusters copied': 5, 'bytes copied': bytes, 'clusters zeroed': 2 } },
  ]);
  t.equal(fs.statSync(join(folder, 'two')).size, second.length);

  await takeTo('third', join(folder, 'three'));
  t.equal(fs.statSync(join(folder, 'three')).size, 0, 'nothing has changed');
  const output = join(folder, 'output');
  await restore({ store, snapshot: 'third', output, pools });
  t.ok(sameFile(image, output), 'the store has it all as well');
});

t.test('what holds something is not written over', async (t) => {
  const { folder, store, takeTo } = openTrial(t);
  const failure = (to: string): Promise<string> =>
    takeTo('one', to).then(
      () => 'none',
      (error: unknown) => (error instanceof Fault ? error.message : String(error)),
    );
  const to = join(folder, 'to');
  fs.writeFileSync(to, 'mine');
  t.match(await failure(to), /to is not empty/);
  t.equal(fs.readFileSync(to, 'utf8'), 'mine');
  t.match(await failure(folder), /illegal operation on a directory/);
  t.match(await failure(join(folder, 'none', 'to')), /no such file or directory/);
  t.match(await failure(''), /needs to=FILE/);
  t.notOk(fs.existsSync(store));
  fs.writeFileSync(to, '');
  t.equal(await failure(to), 'none', 'an empty file will do');
});

t.test('of a take that fails it leaves nothing, and the next may have the name', async (t) => {
  const { folder, image, store, pools, takeTo } = openTrial(t);
  const to = join(folder, 'to');
  const slow = example('throttle', { rate: 1024 }, { at: 'before:compress' });
  const stages = [example('tee', { to }), slow];
  const signal = abortWhen(t, () => fs.existsSync(to) && fs.statSync(to).size > 0);
  const asked = { image, store, clusterSize: CLUSTER, memory: SMALL_MEMORY, pools };
  await t.rejects(take({ ...asked, stages, signal }), { code: 'cancelled' });
  t.notOk(fs.existsSync(to));
  await takeTo('one', to);
  t.ok(fs.statSync(to).size > 0);
});
