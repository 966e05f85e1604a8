// A file that qemu-img made becomes a store with its first take, where it can; where it cannot, it is said why.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  check,
  compare,
  convert,
  exportSnapshot,
  importSnapshot,
  list,
  remove,
  restore,
  take,
  verify,
} from '../../snapshot/index.js';
import { forgeTable } from '../qcow2/forge.js';
import { patch, Random, sameFile, tempDir, withFd } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';
import { checkClean, convertSnapshot, qemuImg } from '../tools/qemu.js';
import { ownClusters, withTables } from '../tools/tables.js';

t.setTimeout(180_000);

const CLUSTER = 65536;
const SIZE = 100 * CLUSTER + 512;

/** An image, and a qcow2 file of it with snapshot "theirs", by stock tools. */
const makeForeign = async (t: Test, options: string, packed: boolean) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const random = new Random(7);
  const content = Buffer.alloc(SIZE, 'what compresses well, ');
  random.bytes(30 * CLUSTER).copy(content, 40 * CLUSTER);
  content.fill(0, 75 * CLUSTER, 90 * CLUSTER);
  fs.writeFileSync(image, content);
  const made = ['convert', ...(packed ? ['-c'] : []), '-O', 'qcow2', '-o', options, image, store];
  t.equal(qemuImg(made).status, 0);
  t.equal(qemuImg(['snapshot', '-c', 'theirs', store]).status, 0);
  fs.copyFileSync(image, `${image}.theirs`);
  return { folder, image, store, random };
};

const holds = async (t: Test, image: string, store: string, tags: readonly string[]) => {
  checkClean(store);
  t.match(await check({ store }), { corruptions: 0, leaks: 0 });
  for (const tag of tags) {
    const [ours, theirs] = [`${store}.ours`, `${store}.theirs`];
    const r = await restore({ store, snapshot: tag, output: ours, force: true });
    t.ok(r.verified && sameFile(ours, `${image}.${tag}`), `${tag} for us`);
    convertSnapshot(store, tag, theirs);
    fs.truncateSync(theirs, fs.statSync(ours).size);
    t.ok(sameFile(theirs, `${image}.${tag}`), `${tag} for qemu-img`);
  }
};

for (const [options, packed, extra] of [
  ['refcount_bits=32', false, {}],
  ['refcount_bits=32', false, { compression: 'none' }],
  ['refcount_bits=32', true, {}],
  ['refcount_bits=32,compression_type=zstd', true, { digest: 'blake3' }],
  ['refcount_bits=32,cluster_size=4k,preallocation=metadata', false, {}],
  ['refcount_bits=32,lazy_refcounts=on,cluster_size=2M', false, {}],
] as const) {
  const how = `${options}${packed ? ', packed' : ''} ${JSON.stringify(extra)}`;
  t.test(`a take depends on what is there: ${how}`, async (t) => {
    const { image, store, random } = await makeForeign(t, options, packed);
    patch(image, random.bytes(100), 50 * CLUSTER + 1000);
    fs.copyFileSync(image, `${image}.ours`);
    const r = await take({ image, store, tag: 'ours', ...extra });
    t.match(r, { parent: 'theirs', changedClusters: 1, storedClusters: 1 });
    await holds(t, image, store, ['theirs', 'ours']);
    t.equal(ownClusters(store, 'theirs', 'ours').length, 1);
    t.match(await list({ store }), [
      { tag: 'theirs', dirty: 'adopted', storedClusters: 0 },
      { tag: 'ours', parent: 'theirs' },
    ]);
    t.match(await verify({ store }), { unverifiable: [], damagedClusters: 0 });
    t.match(await compare({ store, snapshot: 'theirs', image: `${image}.theirs` }), {
      equal: true,
    });
    // It goes on as any other store, for both.
    fs.truncateSync(image, SIZE + 3 * CLUSTER);
    fs.copyFileSync(image, `${image}.grown`);
    await take({ image, store, tag: 'grown' });
    await holds(t, image, store, ['theirs', 'ours', 'grown']);
    t.equal(qemuImg(['snapshot', '-d', 'theirs', store]).status, 0);
    await holds(t, image, store, ['ours', 'grown']);
  });
}

t.test(
  'a snapshot that qemu-img made in a store of ours can be a parent when it is named',
  async (t) => {
    const { folder, image, random } = await makeForeign(t, 'refcount_bits=32', false);
    const store = join(folder, 'own.qcow2');
    fs.copyFileSync(image, `${image}.a`);
    await take({ image, store, tag: 'a' });
    t.equal(qemuImg(['snapshot', '-c', 'b', store]).status, 0);
    fs.truncateSync(`${image}.a`, SIZE);
    fs.copyFileSync(image, `${image}.b`);
    patch(image, random.bytes(10), 3);
    fs.copyFileSync(image, `${image}.c`);
    t.match(await take({ image, store, tag: 'c', parent: 'b' }), {
      parent: 'b',
      storedClusters: 1,
    });
    await holds(t, image, store, ['a', 'b', 'c']);
  },
);

t.test('what cannot be adopted is said, and the file is as it was', async (t) => {
  const { folder, image, store } = await makeForeign(t, 'refcount_bits=32', false);
  const refusal = async (path: string, stderr: RegExp, ...more: string[]) => {
    const before = fs.readFileSync(path);
    t.match(await nvsnap(['take', image, path, ...more]), { status: 1, stderr });
    t.ok(fs.readFileSync(path).equals(before), 'as it was');
  };
  const path = join(folder, 'other.qcow2');
  for (const [options, stderr] of [
    ['compat=0.10', /version 2/],
    ['compat=1.1', /refcounts have 16 bits, not 32/],
    ['refcount_bits=32,cluster_size=512', /smaller than 4 KiB/],
    ['refcount_bits=32,extended_l2=on', /it has extended L2 entries/],
  ] as const) {
    t.equal(qemuImg(['convert', '-O', 'qcow2', '-o', options, image, path]).status, 0);
    t.equal(qemuImg(['snapshot', '-c', 'x', path]).status, 0);
    await refusal(path, stderr);
  }
  t.equal(qemuImg(['convert', '-O', 'qcow2', '-o', 'refcount_bits=32', image, path]).status, 0);
  await refusal(path, /in none of its snapshots/);
  t.equal(qemuImg(['bitmap', '--add', path, 'bits']).status, 0);
  t.equal(qemuImg(['snapshot', '-c', 'x', path]).status, 0);
  await refusal(path, /dirty bitmaps/);
  // Another image altogether.
  fs.writeFileSync(image, new Random(99).bytes(SIZE));
  await refusal(store, /of another image \(by another program/);
  t.equal(spawnSync('cmp', [image, `${image}.theirs`]).status, 1);
});

t.test('nothing is adopted where the dirty source refuses', async (t) => {
  const { folder, image, store } = await makeForeign(t, 'refcount_bits=32', false);
  const before = fs.readFileSync(store);
  for (const dirty of [
    `bitmap:${join(folder, 'missing')}`,
    `holes:${join(folder, 'missing')}`,
    'holes',
  ]) {
    await t.rejects(
      take({ image, store, dirty }),
      { exitCode: 1, code: /^(dirty|changes)-/ },
      dirty,
    );
    t.ok(fs.readFileSync(store).equals(before), 'the file is as it was');
  }
});

t.test('"qemu-img amend" makes a common file adoptable, as the advice says', async (t) => {
  const { image, store } = await makeForeign(t, 'compat=1.1', false);
  const refused = await nvsnap(['take', image, store]);
  t.match(refused.stderr, /qemu-img amend/);
  t.equal(qemuImg(['amend', '-o', 'refcount_bits=32', store]).status, 0);
  fs.copyFileSync(image, `${image}.a`);
  t.match(await take({ image, store, tag: 'a' }), { parent: 'theirs', storedClusters: 0 });
  await holds(t, image, store, ['theirs', 'a']);
});

/** Makes a file of another program with snapshots "theirs", "b" and "c", and gives them ids. */
const makeNumbered = async (t: Test, ids: readonly string[]) => {
  const made = await makeForeign(t, 'refcount_bits=32', false);
  const { image, store } = made;
  for (const tag of ['b', 'c']) {
    t.equal(qemuImg(['snapshot', '-c', tag, store]).status, 0);
    fs.copyFileSync(image, `${image}.${tag}`);
  }
  forgeTable(store, (_, i) => ({ entry: { id: ids[i] ?? '' } }));
  return made;
};

t.test('a file in which several snapshots have one id is adopted', async (t) => {
  const { folder, image, store, random } = await makeNumbered(t, ['7', '7', '7']);
  patch(image, random.bytes(100), 50 * CLUSTER);
  fs.copyFileSync(image, `${image}.ours`);
  t.match(await take({ image, store, tag: 'ours' }), { id: '8', parent: 'c', storedClusters: 1 });
  const before = fs.readFileSync(store);
  for (const args of [
    ['remove', store, '#7'],
    ['info', store, '#7'],
    ['restore', store, '#7', join(folder, 'out')],
  ]) {
    const stderr = /"#7" names more than one .*: "theirs", "b", "c"\..*by its tag/s;
    t.match(await nvsnap(args), { status: 1, stderr }, args.join(' '));
  }
  t.ok(fs.readFileSync(store).equals(before), 'as it was');
  for (const tag of ['theirs', 'b', 'c', 'ours']) {
    await restore({ store, snapshot: tag, output: `${store}.out`, force: true });
    t.ok(sameFile(`${store}.out`, `${image}.${tag}`), tag);
  }
  // A copy has ids of its own.
  const output = join(folder, 'copy.qcow2');
  const { snapshots } = await convert({ store, output });
  t.same(
    snapshots.map(({ id }) => id),
    ['7', '8', '9', '10'],
  );
  await holds(t, image, output, ['theirs', 'b', 'c', 'ours']);
});

t.test('ids that are no numbers are not counted', async (t) => {
  for (const [ids, next] of [
    [['Infinity', '9007199254740992', '1.5'], '1'],
    [['1e3', '-4', '0x10'], '1'],
    [['3', '', 'three'], '4'],
    [['999999999999999', '1000000000000000', '2'], '1000000000000001'],
  ] as const) {
    const { image, store } = await makeNumbered(t, ids);
    t.match(await take({ image, store, tag: 'ours' }), { id: next }, ids.join(' '));
    await take({ image, store, tag: 'another' });
    const all = (await list({ store })).map(({ id }) => id);
    t.equal(new Set(all).size, 5, all.join(' '));
  }
});

t.test('names that are not UTF-8 stay as they are', async (t) => {
  for (const name of ['\xff\xfe', '\xff'.repeat(30_000)]) {
    const { folder, image, store } = await makeForeign(t, 'refcount_bits=32', false);
    const rawNames = { id: Buffer.from('1'), tag: Buffer.from(name, 'latin1') };
    forgeTable(store, () => ({ entry: { rawNames } }));
    const named = (): string[] =>
      withTables(store, ({ snapshots }) =>
        snapshots.map(({ entry }) => entry.rawNames?.tag.toString('latin1') ?? entry.tag),
      );
    const output = join(folder, 'copy.qcow2');
    const refused = { code: 'store-unsupported', message: /name that is not UTF-8/ };
    await t.rejects(convert({ store, output }), refused);
    t.notOk(fs.existsSync(output));
    t.match(await take({ image, store, tag: 'ours' }), { storedClusters: 0 });
    t.same(named(), [name, 'ours']);
    t.match(await verify({ store }), { unverifiable: [], damagedClusters: 0 });
    await withFd(join(folder, 'stream'), 'w', async (fd) => {
      await t.rejects(exportSnapshot({ store, snapshot: '#1', fd }), refused);
      await exportSnapshot({ store, snapshot: 'ours', since: '#1', fd });
    });
    // Its header has room for what it says of its parent.
    await withFd(join(folder, 'stream'), 'r', async (fd) => {
      await t.rejects(importSnapshot({ store, fd }), { code: 'snapshot-present' });
    });
    await convert({ store, output, snapshots: ['ours'] });
    t.match(await remove({ store, snapshots: ['ours'] }), {});
    t.same(named(), [name]);
    await restore({ store, snapshot: '#1', output: `${store}.out` });
    t.ok(sameFile(`${store}.out`, `${image}.theirs`));
  }
});
