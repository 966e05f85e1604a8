// Snapshots go, and nothing else does: every other one comes back byte for byte, the store is sound for
// qemu-img, and the space is there again.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readLog } from '../../disk/index.js';
import { check, list, prune, remove, take } from '../../snapshot/index.js';
import { allocatedBytes, patch, Random, randomBytes, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { nvsnap } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

const CLUSTER = 64 * 1024;
const CLUSTERS = 96;

t.setTimeout(240_000);

/** An image, a store with a snapshot per tag, and a judge that knows them. */
const makeStore = async (t: Test, tags: readonly string[], compression: 'zstd' | 'none') => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  const store = join(folder, 'store.qcow2');
  fs.writeFileSync(image, randomBytes(CLUSTERS * CLUSTER, 11));
  const random = new Random(12);
  const judge = new Judge(folder, store);
  const change = (clusters: number): void => {
    for (const cluster of random.pick(clusters, CLUSTERS)) {
      patch(image, random.bytes(CLUSTER), cluster * CLUSTER);
    }
  };
  for (const tag of tags) {
    judge.remember(image, tag);
    await take({ image, store, tag, compression });
    change(20);
  }
  return { folder, image, store, judge, change };
};

/** Asserts that exactly these snapshots are left, and all of them. */
const assertLeft = async (t: Test, judge: Judge, tags: readonly string[]): Promise<void> => {
  for (const { tag } of [...judge.states]) if (!tags.includes(tag)) judge.forget(tag);
  t.same(
    (await list({ store: judge.store })).map(({ tag }) => tag),
    tags,
  );
  t.match(await check({ store: judge.store }), { corruptions: 0, leaks: 0 });
  checkClean(judge.store);
  await judge.all(t);
};

for (const compression of ['zstd', 'none'] as const) {
  t.test(`the first, a middle and the last go: ${compression}`, async (t) => {
    const { image, store, judge, change } = await makeStore(
      t,
      ['a', 'b', 'c', 'd', 'e'],
      compression,
    );
    const left = ['a', 'b', 'c', 'd', 'e'];
    for (const tag of ['a', 'c', 'e']) {
      const before = allocatedBytes(store);
      const r = await remove({ store, snapshots: [tag] });
      left.splice(left.indexOf(tag), 1);
      t.match(r, { removed: [{ tag }], kept: left.length });
      t.equal(r.freedBytes, before - allocatedBytes(store));
      // What only it referred to: of a middle one, what the next take replaced.
      const least = tag === 'c' ? 2 : 15;
      t.ok(r.freedBytes >= least * CLUSTER, `${r.freedBytes} bytes are back at once`);
      await assertLeft(t, judge, left);
    }
    // A take on top of what is left, and the rest goes too.
    change(5);
    judge.remember(image, 'f');
    await take({ image, store, tag: 'f' });
    await assertLeft(t, judge, ['b', 'd', 'f']);
    await remove({ store, snapshots: ['latest', 'b'] });
    await assertLeft(t, judge, ['d']);
    await remove({ store, snapshots: ['d'] });
    await assertLeft(t, judge, []);
    t.ok(allocatedBytes(store) <= 8 * CLUSTER, 'an empty store is small');
    judge.remember(image, 'g');
    t.match(await take({ image, store, tag: 'g' }), { parent: null });
    await assertLeft(t, judge, ['g']);
  });
}

t.test('freed space is used again, punched or not', async (t) => {
  for (const punch of [true, false]) {
    const { image, store, judge, change } = await makeStore(t, ['a', 'b', 'c'], 'none');
    const size = fs.statSync(store).size;
    const r = await remove({ store, snapshots: ['a', 'b'], punch });
    if (punch) t.ok(r.freedBytes >= 25 * CLUSTER);
    else t.ok(r.freedBytes <= 4 * CLUSTER, 'only what was at the end of the file');
    change(3);
    judge.remember(image, 'd');
    await take({ image, store, tag: 'd' });
    t.ok(fs.statSync(store).size <= size, 'the file does not grow');
    await assertLeft(t, judge, ['c', 'd']);
  }
});

t.test('it costs tables, not data', async (t) => {
  const { folder, store } = await makeStore(t, ['a', 'b', 'c'], 'none');
  const ioLog = join(folder, 'log');
  await remove({ store, snapshots: ['b'], ioLog });
  const entries = [...readLog(fs.readFileSync(ioLog))];
  const headers = entries.filter((entry) => entry.kind === 'write' && entry.position === 0);
  t.equal(headers.length, 1, 'one write of the header');
  t.equal(entries.filter(({ kind }) => kind === 'sync').length, 2);
  const publish = entries.indexOf(headers[0] as (typeof entries)[0]);
  const tables = entries
    .slice(0, publish)
    .flatMap((e) => (e.kind === 'write' ? [e.data.length] : []));
  t.ok(
    tables.reduce((sum, bytes) => sum + bytes, 0) <= 5 * CLUSTER,
    'active L1, snapshot table, refcount block, refcount table',
  );
});

t.test('60 takes with prune: the store stays as large as one with the same five', async (t) => {
  const { folder, image, store, judge, change } = await makeStore(
    t,
    ['0'.padStart(2, 'x')],
    'zstd',
  );
  for (let i = 1; i <= 60; i += 1) {
    change(4);
    judge.remember(image, `take ${i}`);
    await take({ image, store, tag: `take ${i}` });
    const r = await prune({ store, keep: { last: 5 } });
    t.ok(r.kept.length === Math.min(5, i + 1), `${r.kept.length} kept`);
    for (const { tag } of r.removed) judge.forget(tag);
  }
  await assertLeft(
    t,
    judge,
    [56, 57, 58, 59, 60].map((i) => `take ${i}`),
  );
  const fresh = join(folder, 'fresh.qcow2');
  for (const { copy, tag } of judge.states) {
    await take({ image: copy, store: fresh, tag, otherImage: true });
  }
  const ratio = allocatedBytes(store) / allocatedBytes(fresh);
  t.ok(ratio <= 1.3, `${ratio} times the size of a fresh one`);
});

t.test('the commands, and what they refuse', async (t) => {
  const { store } = await makeStore(t, ['a', 'b', 'c'], 'zstd');
  const before = fs.readFileSync(store);
  const refused: ReadonlyArray<readonly [readonly string[], number, RegExp]> = [
    [['remove', store], 2, /snapshots/],
    [['remove', store, 'x'], 1, /no snapshot "x"/],
    [['remove', store, 'a', 'x'], 1, /no snapshot "x"/],
    [['remove', `${store}-not`, 'a'], 1, /does not exist/],
    [['prune', store], 2, /No rule/],
    [['prune', store, '--keep-last', '0'], 2, /No rule/],
    [['prune', store, '--keep-last', '-1'], 2, /not a number of snapshots/],
    [['prune', store, '--keep-daily', 'x'], 2, /not a whole number/],
  ];
  for (const [args, status, words] of refused) {
    const done = await nvsnap(args);
    t.equal(done.status, status, args.join(' '));
    t.match(done.stderr, words);
    t.ok(fs.readFileSync(store).equals(before), 'nothing was changed');
  }
  const dry = await nvsnap(['prune', store, '--keep-last', '1', '--dry-run', '--json']);
  t.match(JSON.parse(dry.stdout), {
    dryRun: true,
    kept: [{ tag: 'c', rules: ['last'] }],
    removed: [{ tag: 'b' }, { tag: 'a' }],
  });
  t.ok(fs.readFileSync(store).equals(before), 'a dry run changes nothing');
  const pruned = await nvsnap(['prune', store, '--keep-last', '2']);
  t.match(pruned.stdout, /remove +#1 +a\nRemoved 1 of 3 snapshots: .* freed\.\n$/);
  const removed = await nvsnap(['remove', store, '#2', '--no-punch']);
  t.match(removed, {
    status: 0,
    stdout: /^Removed b \(#2\) from .*: .* freed, 1 snapshot left\.\n$/,
  });
  checkClean(store);
});
