// Damage in files of other programs, which have no digests: what can be noticed is, by verify, by check and by
// restore. And what is refused of them.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { decodePacked, offsetOf, type Store } from '../../qcow2/index.js';
import { check, restore, take, verify } from '../../snapshot/index.js';
import { patch, Random, tempDir } from '../tools/files.js';
import { qemu, qemuIo } from '../tools/foreign.js';
import { check as qemuCheck } from '../tools/qemu.js';
import { tagged, withTables } from '../tools/tables.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const CLUSTER = 64 * KiB;

/** Two snapshots of 8 MiB: 1 MiB of noise and 1 MiB of words; the second has 128 KiB of its own in each. */
const makeFile = (t: Test, options: string, convert: readonly string[] = []): string => {
  const folder = tempDir(t);
  const [raw, path] = [join(folder, 'raw'), join(folder, 'theirs.qcow2')];
  const image = Buffer.alloc(8 * MiB);
  image.set(new Random(1).bytes(MiB));
  image.fill('as easy to pack as words are ', MiB, 2 * MiB);
  fs.writeFileSync(raw, image);
  qemu('convert', '-f', 'raw', '-O', 'qcow2', '-o', options, ...convert, raw, path);
  qemu('snapshot', '-c', 'one', path);
  qemuIo(path, ['write -P 7 0 128k', 'write -P 8 1M 128k']);
  qemu('snapshot', '-c', 'two', path);
  return path;
};

/** Host offset of the L2 entry of a cluster of a snapshot below its first L1 entry. */
const entryOf = (path: string, tag: string, cluster: number): number =>
  withTables(path, (store) => {
    const l1 = store.l1(tagged(store, tag).entry);
    return offsetOf(l1.hi(0), l1.lo(0)) + cluster * store.geometry.l2EntryBytes;
  });

const word = (value: bigint): Buffer => {
  const raw = Buffer.alloc(8);
  raw.writeBigUInt64BE(value);
  return raw;
};

const wordAt = (path: string, offset: number): bigint =>
  fs.readFileSync(path).readBigUInt64BE(offset);

/** What a snapshot's restore says; where its damage is when it goes on. */
const restoring = async (path: string, snapshot: string) => {
  const out = `${path}.out`;
  const asked = { store: path, snapshot, output: out };
  const failed = await restore(asked).then(
    () => undefined,
    ({ code, exitCode }: { code: string; exitCode: number }) => ({ code, exitCode }),
  );
  const { badRanges } = await restore({ ...asked, force: true, skipDamaged: true });
  const bytes = fs.readFileSync(out);
  fs.rmSync(out);
  fs.rmSync(`${out}.bad-ranges`, { force: true });
  return { failed, badRanges, bytes };
};

t.test('payloads that cannot be decoded', async (t) => {
  for (const type of ['zlib', 'zstd']) {
    const path = makeFile(t, `compression_type=${type}`, ['-c']);
    const sound = await verify({ store: path });
    t.match(sound, { unverifiable: ['one', 'two'], damagedClusters: 0, complete: true });
    // 16 of noise and 16 of words, and two of each again.
    t.equal(sound.clusters, 36, 'each stored cluster once');
    const packed = (cluster: number): number => {
      const entry = wordAt(path, entryOf(path, 'one', cluster));
      const [hi, lo] = [Number(entry >> 32n), Number(entry & 0xffff_ffffn)];
      return decodePacked(hi, lo, 16).offset;
    };
    // One that only the first snapshot has, and one that both have.
    for (const cluster of [17, 20]) patch(path, Buffer.alloc(40, 0xff), packed(cluster));
    const damaged = await verify({ store: path });
    t.match(damaged, { damagedClusters: 2, unverifiable: ['one', 'two'], clusters: 36 });
    const problem = 'its payload cannot be decoded';
    t.same(damaged.damage, [
      { start: 17 * CLUSTER, length: CLUSTER, problem, snapshots: ['one'] },
      { start: 20 * CLUSTER, length: CLUSTER, problem, snapshots: ['one', 'two'] },
    ]);
    t.match(await restoring(path, 'two'), {
      failed: { code: 'payload-damaged', exitCode: 3 },
      badRanges: [{ start: 20 * CLUSTER, length: CLUSTER }],
    });
  }
});

t.test('clusters outside the file, and off their boundaries', async (t) => {
  for (const options of ['cluster_size=64k', 'extended_l2=on']) {
    const path = makeFile(t, options);
    const step = options === 'extended_l2=on' ? 16 : 8;
    const first = entryOf(path, 'one', 4);
    t.equal(entryOf(path, 'one', 5) - first, step);
    patch(path, word(1n << 40n), first);
    patch(path, word(wordAt(path, first + step) + 512n), first + step);
    patch(path, word((1n << 62n) | (1n << 40n)), first + 2 * step);
    const report = await check({ store: path });
    t.ok(report.corruptions >= 3, 'check finds them', report);
    const { damage, damagedClusters } = await verify({ store: path, snapshots: ['one'] });
    t.equal(damagedClusters, 3);
    t.match(damage, [
      { start: 4 * CLUSTER, problem: /outside the file/, snapshots: ['one'] },
      { start: 5 * CLUSTER, problem: /not on a cluster boundary/ },
      { start: 6 * CLUSTER, problem: /outside the file/ },
    ]);
    t.match(await restoring(path, 'one'), {
      failed: { code: 'store-damaged', exitCode: 3 },
      badRanges: [{ start: 4 * CLUSTER, length: 3 * CLUSTER }],
    });
    t.match(await restoring(path, 'two'), { failed: undefined, badRanges: [] });
  }
});

t.test('a table outside the file', async (t) => {
  const path = makeFile(t, 'cluster_size=64k');
  const l1 = withTables(path, (store) => tagged(store, 'two').entry.l1Offset);
  patch(path, word(1n << 40n), l1);
  t.match(await verify({ store: path }), {
    damagedClusters: 128,
    damage: [{ start: 0, length: 8 * MiB, problem: /outside the file/, snapshots: ['two'] }],
  });
});

t.test('subclusters that contradict their entry', async (t) => {
  const ALL = 0xffff_ffffn;
  for (const [name, change] of [
    ['stored and zero', (path, at) => patch(path, word((1n << 32n) | ALL), at + 8)],
    ['stored without a cluster', (path, at) => patch(path, word(0n), at)],
  ] as ReadonlyArray<readonly [string, (path: string, entry: number) => void]>) {
    const path = makeFile(t, 'extended_l2=on');
    change(path, entryOf(path, 'one', 9));
    const report = await check({ store: path });
    t.ok(qemuCheck(path).corruptions > 0, `${name}: qemu-img finds it`);
    t.ok(
      report.findings.some(({ code, kind }) => code === 'subclusters' && kind === 'corruption'),
      `${name}: check finds it`,
    );
    const { damage } = await verify({ store: path });
    t.match(damage, [
      { start: 9 * CLUSTER, length: CLUSTER, problem: /contradicts itself/, snapshots: ['one'] },
    ]);
    t.match(await restoring(path, 'one'), {
      failed: { code: 'store-damaged', exitCode: 3 },
      badRanges: [{ start: 9 * CLUSTER, length: CLUSTER }],
    });
    t.equal(damage.length, 1);
  }
  const packed = makeFile(t, 'extended_l2=on', ['-c']);
  patch(packed, word(1n), entryOf(packed, 'one', 20) + 8);
  t.ok(qemuCheck(packed).corruptions > 0);
  const { findings } = await check({ store: packed });
  t.match(findings, [{ code: 'reserved-bits', message: /compressed, but tells of subclusters/ }]);
});

t.test('a subcluster that became zero in a shared cluster', async (t) => {
  const path = makeFile(t, 'extended_l2=on');
  qemuIo(path, ['write -z 512k 2k', 'discard 600k 3k']);
  qemu('snapshot', '-c', 'three', path);
  const place = (store: Store, tag: string): number => {
    const l1 = store.l1(tagged(store, tag).entry);
    const l2 = store.l2(offsetOf(l1.hi(0), l1.lo(0)));
    return offsetOf(l2.hi(8), l2.lo(8));
  };
  withTables(path, (store) => t.equal(place(store, 'three'), place(store, 'two'), 'same cluster'));
  const two = (await restoring(path, 'two')).bytes;
  const three = (await restoring(path, 'three')).bytes;
  t.notOk(two.subarray(512 * KiB, 514 * KiB).equals(Buffer.alloc(2 * KiB)));
  two.fill(0, 512 * KiB, 514 * KiB);
  t.ok(two.subarray(0, 600 * KiB).equals(three.subarray(0, 600 * KiB)), 'and other bytes');
});

t.test('a snapshot of ours and one of QEMU in one store', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  fs.writeFileSync(image, new Random(4).bytes(2 * MiB));
  await take({ image, store, tag: 'ours', compression: 'zstd' });
  qemuIo(store, ['write -P 9 0 128k']);
  qemu('snapshot', '-c', 'theirs', store);
  const found = await verify({ store });
  t.match(found, { snapshots: ['ours', 'theirs'], unverifiable: ['theirs'], damage: [] });
  t.equal(found.clusters, 34, 'what they share is read once');
  t.match(await verify({ store, snapshots: ['ours'] }), { unverifiable: [], clusters: 32 });
  const round = await verify({ store, timeBudget: 60 });
  t.match(round, { complete: true, clusters: 34, damagedClusters: 0 }, 'from anywhere on');
  // Both have this cluster, but only our digest can tell.
  const noise = withTables(store, (s) => {
    const l1 = s.l1(tagged(s, 'ours').entry);
    const l2 = s.l2(offsetOf(l1.hi(0), l1.lo(0)));
    return offsetOf(l2.hi(20), l2.lo(20));
  });
  patch(store, Buffer.of(fs.readFileSync(store)[noise] === 0 ? 1 : 0), noise);
  const { damage } = await verify({ store });
  t.match(damage, [{ start: 20 * CLUSTER, problem: /does not match/ }]);
  t.same(damage[0]?.snapshots, ['ours', 'theirs'], 'and both are hurt');
  t.equal(damage.length, 1);
});

t.test('what is refused of extended L2 entries', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  fs.writeFileSync(image, new Random(4).bytes(MiB));
  const theirs = makeFile(t, 'extended_l2=on,refcount_bits=32');
  const before = fs.readFileSync(theirs);
  await t.rejects(take({ image, store: theirs, tag: 'x' }), {
    code: 'store-unadoptable',
    message: /nvsnap did not make, .*: it has extended L2 entries/,
  });
  t.ok(fs.readFileSync(theirs).equals(before), 'and not touched');
  await take({ image, store, tag: 'ours' });
  patch(store, Buffer.of(0x18), 79);
  await t.rejects(restore({ store, snapshot: 'ours', output: join(folder, 'out') }), {
    code: 'store-unsupported',
    message: /extended L2 entries in a store of its own/,
  });
  const small = join(folder, 'small.qcow2');
  qemu('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=8k', small, '1M');
  patch(small, Buffer.of(0x10), 79);
  await t.rejects(check({ store: small }), { code: 'store-unsupported', message: /512 bytes/ });
});

t.test('a disk that was resized between two snapshots', async (t) => {
  const path = makeFile(t, 'extended_l2=on,cluster_size=16k');
  qemu('resize', '-f', 'qcow2', path, '12M');
  qemuIo(path, ['write -P 5 10M 1M']);
  qemu('snapshot', '-c', 'larger', path);
  const sizes: number[] = [];
  for (const tag of ['one', 'larger']) {
    const { bytes } = await restoring(path, tag);
    const raw = `${path}.raw`;
    qemu('convert', '-l', `snapshot.name=${tag}`, '-O', 'raw', path, raw);
    const theirs = fs.readFileSync(raw);
    sizes.push(bytes.length);
    t.ok(theirs.subarray(0, bytes.length).equals(bytes), tag);
    t.ok(theirs.subarray(bytes.length).every((byte) => byte === 0));
  }
  t.same(sizes, [8 * MiB, 12 * MiB]);
  t.match(await verify({ store: path }), { damagedClusters: 0 });
});
