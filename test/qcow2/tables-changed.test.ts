// A snapshot's tables say what its removal counts down. One that has rotted since the take would take a reference from a
// cluster of another snapshot, which would then be given out while it is in use.

import fs from 'node:fs';
import t from 'tap';
import { check, prune, remove, take } from '../../snapshot/index.js';
import { patch } from '../tools/files.js';
import { checkClean, qemuImg } from '../tools/qemu.js';
import { tagged, withTables } from '../tools/tables.js';
import { CLUSTER, CLUSTERS, makeChain, misdirect } from './chain.js';
import { forgeTable } from './forge.js';

const TAGS = ['one', 'two', 'three'];
const SOUND = { corruptions: 0, leaks: 0 };

t.setTimeout(240_000);

/** Frees what nothing leads to, and asserts that this leaves nothing wrong. */
const repair = (store: string): void => {
  t.equal(qemuImg(['check', '-r', 'leaks', store]).status, 0);
  checkClean(store);
};

/** Takes the digest of its tables out of the records of some snapshots, as early versions wrote them. */
const forgetTables = (path: string, tags: readonly string[]): void =>
  forgeTable(path, (tag) => (tags.includes(tag) ? { record: { tables: undefined } } : {}));

t.test('what a changed table leads to stays taken, and nobody loses a byte', async (t) => {
  for (const drop of ['remove', 'prune'] as const) {
    const { image, store, judge } = await makeChain(t, TAGS);
    // Cluster 20 as "three" has it is in no other snapshot: one reference, of its own table, and one of the active one.
    misdirect(store, ['one', 50], ['three', 20]);
    t.match(await check({ store }), { corruptions: 1 + 1, leaks: 1 });
    const result =
      drop === 'remove'
        ? await remove({ store, snapshots: ['one'] })
        : await prune({ store, keep: { last: 2 } });
    t.same(result.leaked, ['one']);
    judge.forget('one');
    const after = await check({ store });
    t.equal(after.corruptions, 0);
    t.ok(after.leaks > CLUSTERS, 'all that it used counts as taken');
    judge.remember(image, 'four');
    await take({ image, store, tag: 'four', threads: 1 });
    await remove({ store, snapshots: ['two'] });
    judge.forget('two');
    repair(store);
    await judge.all(t);
    await take({ image, store, tag: 'five', threads: 1 });
    t.match(await check({ store }), SOUND);
    judge.remember(image, 'five');
    await judge.all(t);
  }
});

t.test('no snapshot is built upon tables that have changed', async (t) => {
  const { image, store, judge } = await makeChain(t, TAGS);
  misdirect(store, ['three', 50], ['one', 10]);
  judge.forget('three');
  const { size } = fs.statSync(store);
  await t.rejects(take({ image, store, tag: 'four', threads: 1 }), {
    code: 'store-damaged',
    message: /the tables of snapshot "three" are not those that it was taken with/,
  });
  t.equal(fs.statSync(store).size, size, 'the store is as large as it was');
  judge.remember(image, 'four');
  await take({ image, store, tag: 'four', parent: 'two', threads: 1 });
  t.same((await remove({ store, snapshots: ['three'] })).leaked, ['three']);
  await remove({ store, snapshots: ['one'] });
  judge.forget('one');
  t.equal((await check({ store })).corruptions, 0);
  repair(store);
  await judge.all(t);
});

t.test('a changed L1 entry, or one that leads nowhere', async (t) => {
  for (const to of [1n << 40n, 0n]) {
    const { store, judge } = await makeChain(t, TAGS);
    const at = withTables(store, (tables) => tagged(tables, 'one').entry.l1Offset);
    const word = Buffer.alloc(8);
    word.writeBigUInt64BE(to);
    patch(store, word, at);
    t.same((await remove({ store, snapshots: ['one'] })).leaked, ['one']);
    judge.forget('one');
    t.equal((await check({ store })).corruptions, 0);
    repair(store);
    await judge.all(t);
  }
});

t.test('where nobody has noted what the tables were, all must agree', async (t) => {
  const { image, store, judge } = await makeChain(t, TAGS);
  forgetTables(store, ['one', 'three']);
  t.match(await check({ store }), SOUND);
  const sound = fs.readFileSync(store);
  misdirect(store, ['one', 50], ['three', 20]);
  const before = fs.readFileSync(store);
  await t.rejects(remove({ store, snapshots: ['one'] }), { code: 'store-damaged' });
  t.ok(fs.readFileSync(store).equals(before), 'the store is as it was');
  fs.writeFileSync(store, sound);
  t.same((await remove({ store, snapshots: ['one'] })).leaked, []);
  judge.forget('one');
  judge.remember(image, 'four');
  await take({ image, store, tag: 'four', threads: 1 });
  t.match(await check({ store }), SOUND);
  await judge.all(t);
});

t.test(
  'tables that moved are known in their new place, and changed ones are not taken for sound',
  async (t) => {
    const { image, store, judge } = await makeChain(t, TAGS);
    misdirect(store, ['one', 50], ['three', 20]);
    judge.forget('one');
    // The disk grows into another L1 entry: all snapshots get a longer L1 table.
    fs.truncateSync(image, 600 * CLUSTER);
    judge.remember(image, 'grown');
    await take({ image, store, tag: 'grown', threads: 1 });
    // Nor is the place of its old L1 table believed.
    t.match(await check({ store }), { corruptions: 1 + 1, leaks: 1 + 1 });
    const { leaked } = await remove({ store, snapshots: ['one', 'two'] });
    t.same(leaked, ['one']);
    judge.forget('two');
    t.equal((await check({ store })).corruptions, 0);
    repair(store);
    await judge.all(t);
  },
);

t.test('COPIED bits of other programs are no change', async (t) => {
  const { store, judge } = await makeChain(t, TAGS);
  // It goes through the tables of what it drops and of the active state, and says in them which counts are 1.
  for (const args of [
    ['-c', 'other'],
    ['-d', 'three'],
    ['-a', 'two'],
    ['-d', 'other'],
  ]) {
    t.equal(qemuImg(['snapshot', ...args, store]).status, 0);
  }
  judge.forget('three');
  t.match(await check({ store }), { corruptions: 0 });
  t.same((await remove({ store, snapshots: ['two'] })).leaked, []);
  judge.forget('two');
  t.match(await check({ store }), SOUND);
  await judge.all(t);
});
