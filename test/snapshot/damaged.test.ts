// Past damage: what is listed as bad is all that is wrong, and everything else is exact.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hostOffset } from '../../disk/index.js';
import { offsetOf } from '../../qcow2/index.js';
import { type RestoreResult, restore, take } from '../../snapshot/index.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { flipCluster } from '../tools/flip.js';
import { nvsnap } from '../tools/nvsnap.js';
import { tagged, withTables } from '../tools/tables.js';

t.setTimeout(180_000);

const CLUSTER = 4096;
/** Of an L2 table of 4-KiB clusters. */
const L2_ENTRIES = 512;
const CLUSTERS = 3 * L2_ENTRIES + 100;
const SIZE = CLUSTERS * CLUSTER - 1000;

const makeStore = async (t: Test, compression: 'zstd' | 'zlib' | 'none' | 'lz4') => {
  const folder = tempDir(t);
  const [image, store, output] = ['image', 'store.qcow2', 'output'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const random = new Random(8);
  const half = (): Buffer => Buffer.concat([random.bytes(CLUSTER / 2), Buffer.alloc(CLUSTER / 2)]);
  const content = Buffer.concat(Array.from({ length: CLUSTERS }, half)).subarray(0, SIZE);
  content.fill(0, 600 * CLUSTER, 800 * CLUSTER);
  fs.writeFileSync(image, content);
  await take({ image, store, tag: 'a', clusterSize: CLUSTER, compression });
  return { folder, image, store, output, content, random };
};

/** Where an L2 table of snapshot "a" lies in the store. */
const tableAt = (path: string, index: number): number =>
  withTables(path, (store) => {
    const l1 = store.l1(tagged(store, 'a').entry);
    return hostOffset(offsetOf(l1.hi(index), l1.lo(index)));
  });

/** The clusters that a result calls bad. */
const badClusters = ({ badRanges }: RestoreResult): number[] =>
  badRanges.flatMap(({ start, length }) =>
    Array.from({ length: Math.ceil(length / CLUSTER) }, (_, i) => start / CLUSTER + i),
  );

/** The content, with other bytes where it is damaged. */
const without = (content: Buffer, clusters: readonly number[], other: Buffer): Buffer => {
  const copy = Buffer.from(content);
  for (const c of clusters) {
    const end = Math.min(SIZE, (c + 1) * CLUSTER);
    other.copy(copy, c * CLUSTER, c * CLUSTER, end);
  }
  return copy;
};

for (const compression of ['zstd', 'zlib', 'none', 'lz4'] as const) {
  t.test(`only the damaged clusters are missing: ${compression}`, async (t) => {
    const { store, output, content, random } = await makeStore(t, compression);
    const hurt = [...random.pick(20, 590), CLUSTERS - 1].sort((a, b) => a - b);
    for (const cluster of hurt) flipCluster(store, 'a', cluster, random);
    await t.rejects(restore({ store, snapshot: 'a', output }), {
      exitCode: 3,
      code: /damaged|mismatch/,
    });
    t.notOk(fs.existsSync(output), 'without being told, it stops');

    const r = await restore({ store, snapshot: 'a', output, skipDamaged: true });
    t.same(badClusters(r), hurt);
    t.ok(fs.readFileSync(output).equals(without(content, hurt, Buffer.alloc(SIZE))));
    const list = fs
      .readFileSync(r.badList as string, 'utf8')
      .trim()
      .split('\n');
    t.same(
      list.slice(1),
      r.badRanges.map(({ start, length }) => `${start} ${length}`),
      'the list is beside it',
    );
    t.match(list[0], /^# snapshot a of .*store\.qcow2, damaged: first byte, length$/);

    // In place, what is damaged stays as it is there.
    const old = random.bytes(SIZE);
    fs.writeFileSync(output, old);
    const updated = await restore({
      store,
      snapshot: 'a',
      output,
      skipDamaged: true,
      inPlace: true,
    });
    t.same(badClusters(updated), hurt);
    t.ok(fs.readFileSync(output).equals(without(content, hurt, old)), 'in place');

    const range = { start: 100, length: (hurt[3] as number) * CLUSTER };
    const part = await restore({
      store,
      snapshot: 'a',
      output,
      range,
      skipDamaged: true,
      force: true,
    });
    t.same(
      badClusters(part).map(Math.floor),
      hurt.filter((c) => c * CLUSTER < range.start + range.length),
      'of a range, its own',
    );
  });
}

t.test('a list of damage replaces nothing but such a list', async (t) => {
  const { folder, store, random } = await makeStore(t, 'zstd');
  flipCluster(store, 'a', 3, random);
  const output = join(folder, 'out');
  const list = `${output}.bad-ranges`;
  const renamed = { store: list, snapshot: 'a', output, skipDamaged: true };
  fs.renameSync(store, list);
  const before = fs.readFileSync(list);
  const unsuitable = { code: 'output-unsuitable', message: /no list of damage/ };
  await t.rejects(restore(renamed), unsuitable);
  t.ok(fs.readFileSync(list).equals(before), 'the store is as it was');
  fs.renameSync(list, store);
  fs.symlinkSync(store, list);
  await t.rejects(restore({ ...renamed, store }), unsuitable);
  t.ok(fs.readFileSync(store).equals(before), 'nor through a link');
  t.notOk(fs.existsSync(output));
  fs.rmSync(list);
  for (const force of [false, true]) {
    const { badList } = await restore({ ...renamed, store, force });
    t.match(
      fs.readFileSync(badList as string, 'utf8'),
      /^# snapshot a of /,
      'a second replaces it',
    );
  }
  t.same(fs.readdirSync(folder).sort(), ['image', 'out', 'out.bad-ranges', 'store.qcow2']);
});

t.test('a damaged table loses its own part only', async (t) => {
  const { store, output, content } = await makeStore(t, 'zstd');
  const raw = fs.readFileSync(store);
  const at = tableAt(store, 1);
  // Entries that lead out of the file, one after another.
  raw.fill(0xff, at + 100 * 8, at + 110 * 8);
  fs.writeFileSync(store, raw);
  const hurt = Array.from({ length: 10 }, (_, i) => L2_ENTRIES + 100 + i);
  const zero = hurt.filter((c) => c < 600 || c >= 800);
  const r = await restore({ store, snapshot: 'a', output, skipDamaged: true });
  t.ok(fs.readFileSync(output).equals(without(content, hurt, Buffer.alloc(SIZE))));
  for (const c of zero) t.ok(badClusters(r).includes(c), `cluster ${c}`);
});

t.test('clusters that have become zero are noticed one by one', async (t) => {
  const { store, output, content } = await makeStore(t, 'zstd');
  const raw = fs.readFileSync(store);
  const at = tableAt(store, 0);
  for (const slot of [7, 8, 300]) raw.fill(0, at + slot * 8, at + slot * 8 + 8);
  fs.writeFileSync(store, raw);
  const r = await restore({ store, snapshot: 'a', output, skipDamaged: true });
  t.same(badClusters(r), [7, 8, 300]);
  t.ok(fs.readFileSync(output).equals(without(content, [7, 8, 300], Buffer.alloc(SIZE))));
});

t.test('the command says what is missing, with exit code 3', async (t) => {
  const { store, output, image, random } = await makeStore(t, 'zstd');
  flipCluster(store, 'a', 5, random);
  const args = ['restore', store, 'a', output, '--skip-damaged'];
  const { status, stdout } = await nvsnap(args);
  t.equal(status, 3);
  t.match(
    stdout,
    /\n20480\+4096\n4\.00 KiB are damaged in the store and were left out\. They are listed/,
  );
  t.notOk(sameFile(image, output));
  const sound = await nvsnap([...args.slice(0, 3), '-', '--range', '0:20480', '--skip-damaged']);
  t.match(sound, { status: 0 });
  patch(store, Buffer.from('QFI?'), 0);
  t.match(await nvsnap([...args, '--force']), { status: 1, stderr: /not a qcow2 file/ });
});
