// Where two snapshots differ: held against a byte-by-byte comparison of the images, and with the data
// themselves destroyed, since none of them is read.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { kindOf, offsetOf } from '../../qcow2/index.js';
import { type DiffResult, diff, take } from '../../snapshot/index.js';
import { patch, Random, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';
import { qemuImg } from '../tools/qemu.js';
import { tagged, withTables } from '../tools/tables.js';

t.setTimeout(120_000);

const CLUSTER = 4096;

/** Clusters in which two images differ; past its end an image is zero. */
const differing = (a: Buffer, b: Buffer): number[] => {
  const bytes = Math.max(a.length, b.length);
  const [x, y] = [a, b].map((image) => Buffer.concat([image], bytes));
  const clusters: number[] = [];
  for (let at = 0; at < bytes; at += CLUSTER) {
    if (!x?.subarray(at, at + CLUSTER).equals(y?.subarray(at, at + CLUSTER) ?? Buffer.alloc(0))) {
      clusters.push(at / CLUSTER);
    }
  }
  return clusters;
};

const clustersOf = ({ ranges }: DiffResult): number[] =>
  ranges.flatMap(({ start, length }) =>
    Array.from({ length: Math.ceil(length / CLUSTER) }, (_, i) => start / CLUSTER + i),
  );

/** Snapshots of an image that changes, becomes zero in places, grows and shrinks. */
const makeStore = async (t: Test) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const random = new Random(8);
  const images = new Map<string, Buffer>();
  fs.writeFileSync(image, random.bytes(900 * CLUSTER + 100));
  const snap = async (tag: string): Promise<void> => {
    images.set(tag, fs.readFileSync(image));
    await take({ image, store, tag, clusterSize: CLUSTER, compression: 'none' });
  };
  await snap('a');
  for (const cluster of random.pick(30, 900)) patch(image, random.bytes(77), cluster * CLUSTER + 9);
  await snap('b');
  patch(image, Buffer.alloc(40 * CLUSTER), 300 * CLUSTER);
  await snap('c');
  await snap('same as c');
  fs.appendFileSync(image, random.bytes(500 * CLUSTER));
  await snap('grown');
  fs.truncateSync(image, 700 * CLUSTER);
  await snap('shrunk');
  return { folder, store, images };
};

t.test('every pair of snapshots, also when no data are left to read', async (t) => {
  const { store, images } = await makeStore(t);
  const data = withTables(store, (s) =>
    [...images.keys()].flatMap((tag) => {
      const { entry, record } = tagged(s, tag);
      const l1 = s.l1(entry);
      const places: number[] = [];
      for (let i = 0; i < (record?.digestL1 ?? 0); i += 1) {
        const table = offsetOf(l1.hi(i), l1.lo(i));
        if (table === 0) continue;
        const l2 = s.l2(table);
        for (let j = 0; j < l2.length; j += 1) {
          const [hi, lo] = [l2.hi(j), l2.lo(j)];
          if (kindOf(hi, lo) === 'plain') places.push(offsetOf(hi, lo));
        }
      }
      return places;
    }),
  );
  for (const place of new Set(data)) patch(store, Buffer.alloc(CLUSTER, 0xee), place);
  for (const [from, a] of images) {
    for (const [to, b] of images) {
      const r = await diff({ store, from, to });
      const expected = differing(a, b);
      const found = clustersOf(r);
      // The cluster in which the shorter image ends is digested to its end only.
      const end = Math.floor(Math.min(a.length, b.length) / CLUSTER);
      const extra = found.filter((cluster) => !expected.includes(cluster));
      t.same(
        expected.filter((cluster) => !found.includes(cluster)),
        [],
        `${from} and ${to}: nothing is left out`,
      );
      t.ok(extra.every((cluster) => cluster === end && a.length !== b.length));
      t.match(r, { exact: true, fromBytes: a.length, toBytes: b.length });
    }
  }
});

t.test('the command', async (t) => {
  const { folder, store } = await makeStore(t);
  const same = await nvsnap(['diff', store, 'c', 'same as c']);
  t.match(same, { status: 0, stdout: 'c and same as c are equal.\n' });
  const zeroed = await nvsnap(['diff', store, 'b', 'c']);
  t.match(zeroed.stdout, /^1228800\+163840\nb and c differ in 160.0 KiB, 1 range\.\n$/);
  const json = await nvsnap(['diff', store, 'b', '--json']);
  t.match(JSON.parse(json.stdout), { from: 'b', to: 'shrunk', exact: true });
  t.match(await nvsnap(['diff', store, 'x']), { status: 1, stderr: /no snapshot "x"/ });

  const [image, foreign] = [join(folder, 'raw'), join(folder, 'foreign.qcow2')];
  fs.writeFileSync(image, new Random(2).bytes(64 * 65536));
  t.equal(qemuImg(['convert', '-O', 'qcow2', image, foreign]).status, 0);
  for (const tag of ['one', 'two']) t.equal(qemuImg(['snapshot', '-c', tag, foreign]).status, 0);
  const theirs = await diff({ store: foreign, from: 'one', to: 'two' });
  t.match(theirs, { exact: false, rangeCount: 0, changedBytes: 0 });
});
