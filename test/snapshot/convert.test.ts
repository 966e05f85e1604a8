// A store converted to any other kind of store holds the same snapshots, shares as much, and is judged by
// qemu-img as any other; a conversion that fails leaves nothing.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NIL_UUID } from '../../qcow2/index.js';
import { check, convert, list, restore, take } from '../../snapshot/index.js';
import { forgeTable } from '../qcow2/forge.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { flipCluster } from '../tools/flip.js';
import { nvsnap, startNvsnap } from '../tools/nvsnap.js';
import { checkClean, convertSnapshot, qemuImg } from '../tools/qemu.js';

t.setTimeout(240_000);

const KIB = 1024;
const SIZE = 5_000_001;
const TAGS = ['a', 'b', 'c', 'd'] as const;

/** Four states of an image: the second and third a little changed, the fourth shorter. */
const makeStore = async (
  t: Test,
  clusterSize: number,
  compression: 'zstd' | 'zlib' | 'none' | 'lz4',
) => {
  const folder = tempDir(t);
  const [image, store, output] = ['image', 'store.qcow2', 'converted.qcow2'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const random = new Random(clusterSize);
  const content = Buffer.alloc(SIZE, 'a sentence that is compressed well, ');
  random.bytes(2_000_000).copy(content, 1_000_000);
  content.fill(0, 3_500_000, 4_200_000);
  fs.writeFileSync(image, content);
  const changes = [
    () => {},
    () => patch(image, random.bytes(3000), 1_234_567),
    () => patch(image, Buffer.alloc(300_000), 2_000_000),
    () => fs.truncateSync(image, 4_000_123),
  ];
  for (const [i, tag] of TAGS.entries()) {
    changes[i]?.();
    fs.copyFileSync(image, `${image}.${tag}`);
    await take({ image, store, tag, clusterSize, compression });
  }
  const same = (tag: string, path: string): boolean => sameFile(`${image}.${tag}`, path);
  return { folder, image, store, output, same, random };
};

/** Every snapshot is there, exact, for us and for qemu-img (which cannot read lz4). */
const holdsAll = async (
  t: Test,
  path: string,
  same: (tag: string, path: string) => boolean,
  tags: readonly string[] = TAGS,
): Promise<void> => {
  checkClean(path);
  t.match(await check({ store: path }), { corruptions: 0, leaks: 0 });
  for (const tag of tags) {
    const [ours, theirs] = [`${path}.ours`, `${path}.theirs`];
    const r = await restore({ store: path, snapshot: tag, output: ours, force: true });
    t.ok(r.verified && same(tag, ours), `${tag} for us`);
    convertSnapshot(path, tag, theirs);
    // Their size is a multiple of 512.
    fs.truncateSync(theirs, fs.statSync(ours).size);
    t.ok(same(tag, theirs), `${tag} for qemu-img`);
  }
};

for (const [from, to] of [
  [4, 4],
  [4, 64],
  [64, 4],
  [64, 2048],
  [2048, 64],
] as const) {
  t.test(`clusters of ${from}K become clusters of ${to}K`, async (t) => {
    const { store, output, same } = await makeStore(t, from * KIB, 'lz4');
    const before = fs.readFileSync(store);
    const r = await convert({ store, output, clusterSize: to * KIB });
    t.match(r, { compression: 'zstd', clusterSize: to * KIB, verified: true });
    await holdsAll(t, output, same);
    t.ok(fs.readFileSync(store).equals(before), 'the old store is as it was');
    const [old, made] = [await list({ store }), await list({ store: output })];
    const identity = ({ id, tag, uuid, parent, imageBytes, date }: (typeof old)[number]) => ({
      id,
      tag,
      uuid,
      parent,
      imageBytes,
      date,
    });
    t.same(made.map(identity), old.map(identity), 'who they are stays');
    if (from === to) {
      const stored = (all: typeof old) => all.map(({ storedClusters }) => storedClusters);
      t.same(stored(made), stored(old), 'each stores as many clusters as before');
    }
  });
}

for (const compression of ['zlib', 'none', 'zstd'] as const) {
  t.test(`from ${compression} to others, and back`, async (t) => {
    const { store, output, same } = await makeStore(t, 16 * KIB, compression);
    for (const other of ['zstd', 'zlib', 'none'] as const) {
      await convert({ store, output, compression: other, force: true, digest: 'blake3' });
      await holdsAll(t, output, same);
    }
    const lz4 = `${output}.lz4`;
    await convert({ store, output: lz4, compression: 'lz4' });
    t.equal(qemuImg(['check', lz4]).status, 1, 'stock QEMU refuses the private codec');
    await convert({ store: lz4, output, force: true });
    await holdsAll(t, output, same);
  });
}

t.test('one snapshot alone is a qcow2 file of its own, ready for QEMU', async (t) => {
  const { image, store, output, same } = await makeStore(t, 16 * KIB, 'zstd');
  for (const tag of TAGS) {
    await convert({ store, output, snapshots: [tag], force: true });
    await holdsAll(t, output, same, [tag]);
    const raw = `${output}.raw`;
    t.equal(qemuImg(['convert', '-O', 'raw', output, raw]).status, 0);
    fs.truncateSync(raw, fs.statSync(`${image}.${tag}`).size);
    t.ok(same(tag, raw), 'it is the active state');
  }
  const two = await convert({ store, output, snapshots: ['d', '#2'], force: true });
  t.same(
    two.snapshots.map(({ tag }) => tag),
    ['b', 'd'],
  );
  await holdsAll(t, output, same, ['b', 'd']);
  // The new store goes on as any other.
  await take({ image, store: output, tag: 'e' });
  await holdsAll(t, output, (_, path) => sameFile(image, path), ['e']);
});

t.test('a store made by qemu-img becomes one of ours', async (t) => {
  const { folder, image, output, random } = await makeStore(t, 16 * KIB, 'zstd');
  const foreign = join(folder, 'foreign.qcow2');
  fs.truncateSync(image, 4_000_256);
  t.equal(qemuImg(['convert', '-O', 'qcow2', image, foreign]).status, 0);
  t.equal(qemuImg(['snapshot', '-c', 'one', foreign]).status, 0);
  fs.copyFileSync(image, `${image}.one`);
  const bytes = random.bytes(5000);
  const patchFile = join(folder, 'patch');
  fs.writeFileSync(patchFile, bytes);
  t.equal(qemuImg(['snapshot', '-c', 'two', foreign]).status, 0);
  fs.copyFileSync(image, `${image}.two`);
  const r = await convert({ store: foreign, output, clusterSize: 4 * KIB });
  t.equal(r.verified, false);
  await holdsAll(t, output, (tag, path) => sameFile(`${image}.${tag}`, path), ['one', 'two']);
  t.match(await list({ store: output }), [{ tag: 'one' }, { tag: 'two', storedClusters: 0 }]);
});

t.test('a kill leaves the old store, and the new one whole or not at all', async (t) => {
  const { store, output, same, random } = await makeStore(t, 4 * KIB, 'zstd');
  const before = fs.readFileSync(store);
  let whole = 0;
  for (let n = 0; n < 6; n += 1) {
    const { child, ended } = startNvsnap(['convert', store, output, '--cluster-size', '64K', '-q']);
    setTimeout(() => child.kill('SIGKILL'), 100 + random.below(500));
    await ended;
    t.ok(fs.readFileSync(store).equals(before), 'the old one is untouched');
    if (!fs.existsSync(output)) continue;
    whole += 1;
    await holdsAll(t, output, same);
    fs.rmSync(output);
  }
  t.comment(`${whole} of 6 were done before they were killed`);
});

t.test('damage or a signal leave no output', async (t) => {
  const { folder, store, output, random } = await makeStore(t, 4 * KIB, 'zstd');
  const before = fs.readdirSync(folder).sort();
  const { child, ended } = startNvsnap(['convert', store, output, '--cluster-size', '64K']);
  child.kill('SIGTERM');
  const { status, signal } = await ended;
  t.ok(status === 1 || signal === 'SIGTERM');
  t.same(fs.readdirSync(folder).sort(), before);
  flipCluster(store, 'c', 300, random);
  const failed = await nvsnap(['convert', store, output]);
  t.match(failed, {
    status: 3,
    stderr: /^nvsnap: .*(do not match their digest|cannot be decoded)/,
  });
  t.same(fs.readdirSync(folder).sort(), before);
  for (const [args, code, stderr] of [
    [[store, store, '--force'], 1, /both/],
    [[store, folder], 1, /exists already/],
    [[store, folder, '--force'], 1, /not a regular file/],
    [[store, output, '--snapshot', 'zz'], 1, /no snapshot/],
    [[store, output, '--cluster-size', '3K'], 2, /not possible/],
    [[store, output, '-c', 'none', '--level', '3'], 2, /no level/],
    [[store, output, '--threads', 'scan=1'], 2, /no stage/],
  ] as const) {
    t.match(await nvsnap(['convert', ...args]), { status: code, stderr }, args.join(' '));
  }
  t.same(fs.readdirSync(folder).sort(), before);
});

t.test('two snapshots with one uuid are damage, and none is taken for the other', async (t) => {
  const { store, output, same } = await makeStore(t, 4 * KIB, 'zstd');
  const [{ uuid = null } = {}] = await list({ store });
  forgeTable(store, (tag) => {
    if (tag === 'b') return { record: { uuid: uuid ?? '' } };
    return tag === 'c' ? { record: { parent: NIL_UUID } } : {};
  });
  t.match(await check({ store }), { corruptions: 1, findings: [{ code: 'duplicate' }] });
  const refused = { code: 'store-damaged', exitCode: 3, message: /"a" and "b" have the same uuid/ };
  await t.rejects(convert({ store, output }), refused);
  t.notOk(fs.existsSync(output));
  await convert({ store, output, snapshots: ['b', 'c', 'd'] });
  await holdsAll(t, output, same, ['b', 'c', 'd']);
});
