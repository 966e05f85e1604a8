// What stock tools do to a store of ours, and that takes go on afterwards.

import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { check, list, restore, take } from '../../snapshot/index.js';
import { randomBytes, sameFile, tempDir } from '../tools/files.js';
import { checkClean, qemuImg } from '../tools/qemu.js';

const CLUSTER = 65536;
const CLUSTERS = 64;

/** Two states of an image, and a store with snapshots a and b of the first, c of the second. */
const prepare = async (dir: string) => {
  const [one, two, store] = [join(dir, 'one.img'), join(dir, 'two.img'), join(dir, 's.qcow2')];
  const content = randomBytes(CLUSTERS * CLUSTER, 1);
  writeFileSync(one, content);
  const changed = Buffer.from(content);
  changed.fill(7, 5 * CLUSTER, 9 * CLUSTER);
  writeFileSync(two, changed);
  const image = join(dir, 'image');
  for (const [tag, from] of [
    ['a', one],
    ['b', one],
    ['c', two],
  ] as const) {
    copyFileSync(from, image);
    await take({ image, store, tag });
  }
  return { one, two, store, image };
};

t.test('a repair by qemu-img leaves every snapshot', async (t) => {
  const { store, one, two } = await prepare(tempDir(t));
  for (const what of ['leaks', 'all']) {
    const repair = qemuImg(['check', '-r', what, store]);
    t.equal(repair.status, 0, repair.stderr);
  }
  t.same(
    (await list({ store })).map(({ tag }) => tag),
    ['a', 'b', 'c'],
  );
  for (const [snapshot, image] of [
    ['a', one],
    ['c', two],
  ] as const) {
    await restore({ store, snapshot, output: `${store}.out`, force: true });
    t.ok(sameFile(image, `${store}.out`), `${snapshot} is as it was`);
  }
});

t.test('a take after "qemu-img snapshot -d" leaves COPIED exact', async (t) => {
  const { store, image, one } = await prepare(tempDir(t));
  t.equal(qemuImg(['snapshot', '-d', 'b', store]).status, 0);
  copyFileSync(one, image);
  for (const tag of ['d', 'e']) {
    await take({ image, store, tag, parent: 'a' });
    checkClean(store);
    t.equal((await check({ store })).corruptions, 0, `sound after ${tag}`);
  }
});

t.test('a take after "qemu-img snapshot -a" and "-c" goes on', async (t) => {
  const { store, image, one, two } = await prepare(tempDir(t));
  t.equal(qemuImg(['snapshot', '-a', 'a', store]).status, 0);
  t.equal(qemuImg(['snapshot', '-c', 'theirs', store]).status, 0);
  await take({ image, store, tag: 'd' });
  checkClean(store);
  for (const [snapshot, state] of [
    ['a', one],
    ['theirs', one],
    ['c', two],
    ['d', two],
  ] as const) {
    await restore({ store, snapshot, output: `${store}.out`, force: true });
    t.ok(sameFile(state, `${store}.out`), `${snapshot} is exact`);
  }
});
