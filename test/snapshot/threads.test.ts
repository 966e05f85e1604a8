// Which threads a take and a restore use: none where little is to be done, the same for one after
// another where the caller keeps them; and what that must not change: what comes back.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Pools, restore, type StageReport, take } from '../../snapshot/index.js';
import { settledThreads, threadCount } from '../pipeline/line.js';
import { patch, randomBytes, sameFile, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { smallDisk } from '../tools/mount.js';

const MiB = 2 ** 20;
const CLUSTER = 64 * 1024;

t.setTimeout(240_000);

const threadsOf = (stages: readonly StageReport[]): Record<string, number> =>
  Object.fromEntries(stages.map(({ stage, threads }) => [stage, threads]));

/** An image of `bytes` bytes that does not get smaller, in a folder of its own or in `folder`. */
const makeImage = (t: Test, bytes: number, folder = tempDir(t)) => {
  const image = join(folder, 'image');
  const store = join(folder, 'store.qcow2');
  fs.writeFileSync(image, randomBytes(bytes, bytes));
  return { folder, image, store, output: join(folder, 'output') };
};

t.test('a small image needs no threads at all', async (t) => {
  const { folder, image, store, output } = makeImage(t, 3 * MiB + 5);
  const judge = new Judge(folder, store);
  const none = { scan: 0, dedup: 0, pad: 0, compress: 0, write: 0 };
  for (const tag of ['one', 'two']) {
    judge.remember(image, tag);
    t.same(threadsOf((await take({ image, store, tag })).stages), none);
    patch(image, Buffer.alloc(CLUSTER, tag), 5 * CLUSTER + 1);
  }
  const back = await restore({ store, snapshot: 'one', output });
  t.same(threadsOf(back.stages), { fetch: 0, decode: 0, verify: 0, deliver: 0 });
  await judge.all(t);
});

t.test('a large one gets them, and only where there is work', async (t) => {
  const { folder, image, store, output } = makeImage(t, 48 * MiB);
  const judge = new Judge(folder, store);
  judge.remember(image, 'all');
  const all = await take({ image, store, tag: 'all' });
  t.match(threadsOf(all.stages), { pad: 0 });
  t.ok((threadsOf(all.stages).compress ?? 0) >= 1);
  patch(image, Buffer.from('one page'), 17 * CLUSTER);
  judge.remember(image, 'next');
  const next = await take({ image, store, tag: 'next' });
  t.match(threadsOf(next.stages), { dedup: 0, pad: 0, compress: 0, write: 0 });
  t.match(next, { storedClusters: 1 });
  const back = await restore({ store, snapshot: 'all', output });
  t.match(threadsOf(back.stages), { fetch: 1, deliver: 1 });
  await judge.all(t);
});

t.test('who only reads and writes gets them for more than who encodes', async (t) => {
  const { folder, image } = makeImage(t, 130 * MiB);
  for (const compression of ['none', 'zstd'] as const) {
    const store = join(folder, `${compression}.qcow2`);
    const judge = new Judge(folder, store);
    judge.remember(image, 'all');
    const all = await take({ image, store, tag: 'all', compression });
    t.match(threadsOf(all.stages), { scan: 1, pad: 0, write: 1 }, compression);
    await judge.all(t);
  }
});

t.test('threads that the caller keeps serve one take after another', async (t) => {
  const before = threadCount();
  const pools = new Pools();
  const jobs = [makeImage(t, 40 * MiB), makeImage(t, 41 * MiB + 3)];
  for (const tag of ['one', 'two']) {
    for (const { image, store } of jobs) {
      await take({ image, store, tag, pools });
      patch(image, Buffer.alloc(CLUSTER, tag), 7 * CLUSTER);
    }
  }
  const threads = threadCount();
  t.ok(threads > before, 'they stay');
  // A failed take gives the threads back as a good one does.
  const [first] = jobs as [(typeof jobs)[0]];
  const full = { image: first.image, store: first.store, parent: 'none', pools };
  const signal = AbortSignal.abort();
  await t.rejects(take({ ...full, tag: 'cancelled', signal }), { code: 'cancelled' });
  await take({ ...full, tag: 'three' });
  t.ok(threadCount() <= threads, 'and no more are started');
  for (const { image, store, output } of jobs) {
    if (store !== first.store) await take({ image, store, tag: 'three', pools });
    await restore({ store, snapshot: 'three', output, pools });
    t.ok(sameFile(image, output));
    await restore({ store, snapshot: 'one', output, pools, force: true });
    t.notOk(sameFile(image, output));
  }
  await pools.close();
  t.ok((await settledThreads(before)) <= before, 'and they end when the caller says so');
});

t.test('on tmpfs, holes are left out and an image without any is read whole', async (t) => {
  const folder = tempDir(t);
  const disk = smallDisk(t, folder, 64 * MiB);
  if (!disk) t.comment('nothing may be mounted here: this runs on the usual file system');
  for (const [name, bytes, holes] of [
    ['dense', 6 * MiB + 9, []],
    ['sparse', 6 * MiB + 9, [[MiB, 3 * MiB]]],
    ['empty', 0, []],
  ] as const) {
    const place = join(disk ?? folder, name);
    fs.mkdirSync(place);
    const { image, store } = makeImage(t, bytes, place);
    for (const [from, to] of holes) {
      const content = fs.readFileSync(image);
      fs.truncateSync(image, from);
      fs.truncateSync(image, bytes);
      patch(image, content.subarray(to), to);
    }
    const judge = new Judge(folder, store);
    judge.remember(image, 'a');
    const hole = holes.reduce((sum, [from, to]) => sum + to - from, 0);
    t.match(await take({ image, store, tag: 'a' }), { readBytes: bytes - hole }, name);
    await judge.all(t);
  }
});
