// A refcount that is too low makes what a snapshot needs look free. Whoever changes the store must notice before the
// first byte is written; whoever only lost the seal, or met another program's changes, goes on.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { offsetOf, Store } from '../../qcow2/index.js';
import { Refcounts } from '../../qcow2/refcounts.js';
import { check, remove, take } from '../../snapshot/index.js';
import { patch, randomBytes, tempDir } from '../tools/files.js';
import { checkClean, qemuImg } from '../tools/qemu.js';
import { CLUSTER, makeChain } from './chain.js';

const TAGS = ['one', 'two'];
/** Where a header says where the refcount table is, and how many clusters it has. */
const TABLE_AT = 48;
const TABLE_CLUSTERS_AT = 56;
/** The seal's extension type. */
const SEAL = Buffer.from('nvrc');

t.setTimeout(240_000);

const word = (value: bigint): Buffer => {
  const raw = Buffer.alloc(8);
  raw.writeBigUInt64BE(value);
  return raw;
};

/** Where the only refcount block of a small store is. */
const blockOf = (store: string): { table: number; block: number } => {
  const raw = fs.readFileSync(store);
  const table = Number(raw.readBigUInt64BE(TABLE_AT));
  return { table, block: Number(raw.readBigUInt64BE(table)) };
};

/** The host cluster of the `n`th data cluster that only the first snapshot has, or both. */
const clustersOf = (path: string): { first: number; both: number } => {
  const store = Store.open(path, 'r');
  const refcounts = Refcounts.load(store);
  store.file.close();
  const counts = Array.from({ length: refcounts.end }, (_, i) => refcounts.get(i));
  return { first: counts.lastIndexOf(1), both: counts.indexOf(Math.max(...counts)) };
};

/** Where the L2 table of the newest snapshot's disk is; its clusters have more than one reference each. */
const l2Of = (path: string): number => {
  const store = Store.open(path, 'r');
  const l1 = store.activeL1();
  store.file.close();
  return offsetOf(l1.hi(0), l1.lo(0));
};

const DAMAGE: Readonly<Record<string, (store: string) => void>> = {
  'the table has no block': (store) => patch(store, word(0n), blockOf(store).table),
  'the table has no clusters': (store) => patch(store, Buffer.alloc(4), TABLE_CLUSTERS_AT),
  'the table is outside the file': (store) => patch(store, word(1n << 40n), TABLE_AT),
  'a sector of a block is zero': (store) => patch(store, Buffer.alloc(512), blockOf(store).block),
  "the header's count is 0": (store) => patch(store, Buffer.alloc(4), blockOf(store).block),
  'the count of a shared cluster is 0': (store) =>
    patch(store, Buffer.alloc(4), blockOf(store).block + 4 * clustersOf(store).both),
  'the count of a shared cluster is 1': (store) =>
    patch(store, Buffer.from([0, 0, 0, 1]), blockOf(store).block + 4 * clustersOf(store).both),
  'the count of a single cluster is 0': (store) =>
    patch(store, Buffer.alloc(4), blockOf(store).block + 4 * clustersOf(store).first),
  'a hundred harmless faults come first': (store) => {
    const at = l2Of(store);
    for (let i = 0; i < 150; i += 1) patch(store, Buffer.from([0x80]), at + 8 * i);
    patch(store, Buffer.alloc(4), blockOf(store).block + 4 * clustersOf(store).both);
  },
  'the file is cut short': (store) => fs.truncateSync(store, fs.statSync(store).size - 8 * CLUSTER),
};

for (const [what, damage] of Object.entries(DAMAGE)) {
  t.test(`nothing is written where ${what}`, async (t) => {
    const { image, store } = await makeChain(t, TAGS);
    damage(store);
    const before = fs.readFileSync(store);
    const changes: ReadonlyArray<() => Promise<unknown>> = [
      () => take({ image, store, tag: 'three', threads: 1 }),
      () => remove({ store, snapshots: ['one'] }),
    ];
    for (const change of changes) {
      await t.rejects(change(), { code: 'store-damaged' });
      t.ok(fs.readFileSync(store).equals(before), 'the store is as it was');
    }
  });
}

/** True when the store's seal is that of its refcounts. */
const isSealed = (path: string): boolean => {
  const raw = fs.readFileSync(path).subarray(0, 512);
  const at = raw.indexOf(SEAL);
  const store = Store.open(path, 'r');
  const { seal } = Refcounts.load(store);
  store.file.close();
  return at > 0 && raw.subarray(at + 8, at + 8 + seal.length).equals(seal);
};

t.test('every change seals the refcounts, whoever was there before', async (t) => {
  const { image, store, judge } = await makeChain(t, TAGS);
  t.ok(isSealed(store), 'a take');
  const { size } = fs.statSync(store);
  fs.truncateSync(store, size + 2 ** 24);
  t.ok(isSealed(store), 'whatever a killed take has left behind the end');
  fs.truncateSync(store, size);
  t.equal(qemuImg(['snapshot', '-d', 'one', store]).status, 0);
  judge.forget('one');
  t.notOk(isSealed(store), 'qemu-img keeps the seal, which is not true any more');
  judge.remember(image, 'three');
  await take({ image, store, tag: 'three', threads: 1 });
  t.ok(isSealed(store), 'a take after it');
  patch(store, Buffer.from('none'), fs.readFileSync(store).indexOf(SEAL));
  t.notOk(isSealed(store), 'as made before there were seals');
  judge.forget('two');
  await remove({ store, snapshots: ['two'] });
  t.ok(isSealed(store), 'a removal');
  t.match(await check({ store }), { corruptions: 0, leaks: 0 });
  checkClean(store);
  await judge.all(t);
});

t.test('refcount blocks for what lay past the end are given up', async (t) => {
  const folder = tempDir(t);
  const store = join(folder, 'store.qcow2');
  const of = (tag: string, bytes: number): string => {
    fs.writeFileSync(join(folder, tag), randomBytes(bytes, bytes));
    return join(folder, tag);
  };
  const options = { store, clusterSize: CLUSTER, compression: 'none', parent: 'none' } as const;
  const MiB = 2 ** 20;
  // A block counts 4 MiB of clusters.
  await take({ ...options, image: of('a', MiB), tag: 'a', otherImage: true });
  await take({ ...options, image: of('b', 30 * MiB), tag: 'b', otherImage: true });
  await remove({ store, snapshots: ['a'] });
  await take({ ...options, image: of('c', 3 * CLUSTER), tag: 'c', otherImage: true });
  await remove({ store, snapshots: ['b'] });
  t.match(await check({ store }), { corruptions: 0, leaks: 0 });
  await take({ ...options, image: of('d', 2 * CLUSTER), tag: 'd', otherImage: true });
  t.match(await check({ store }), { corruptions: 0, leaks: 0 });
  checkClean(store);
});
