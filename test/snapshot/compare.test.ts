// A snapshot beside an image: the ranges found are those of a byte-by-byte comparison, whether the image has
// data, zeros or holes there, and whatever their sizes.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CompareResult, compare, take } from '../../snapshot/index.js';
import { EDITS } from '../tools/edits.js';
import { copyState, patch, Random, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';

t.setTimeout(180_000);

const CLUSTER = 4096;
const CLUSTERS = 3000;

/** Clusters in which two images differ; past its end an image is zero. */
const differing = (a: Buffer, b: Buffer): Set<number> => {
  const bytes = Math.max(a.length, b.length);
  const [x, y] = [Buffer.concat([a], bytes), Buffer.concat([b], bytes)];
  const clusters = new Set<number>();
  for (let at = 0; at < bytes; at += CLUSTER) {
    if (!x.subarray(at, at + CLUSTER).equals(y.subarray(at, at + CLUSTER)))
      clusters.add(at / CLUSTER);
  }
  return clusters;
};

const clustersOf = ({ ranges }: CompareResult): number[] =>
  ranges.flatMap(({ start, length }) =>
    Array.from({ length: Math.ceil(length / CLUSTER) }, (_, i) => start / CLUSTER + i),
  );

const makeStore = async (t: Test, size: number) => {
  const folder = tempDir(t);
  const [image, store, other] = ['image', 'store.qcow2', 'other'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const random = new Random(size);
  const content = random.bytes(size);
  content.fill(0, 100 * CLUSTER, 700 * CLUSTER);
  content.fill(0, 1500 * CLUSTER, 1510 * CLUSTER);
  fs.writeFileSync(image, content);
  await take({ image, store, tag: 'a', clusterSize: CLUSTER });
  copyState(image, other);
  return { folder, image, store, other, random };
};

for (const tail of [0, 1234]) {
  t.test(`all ranges, and no others; ${tail} bytes past the last whole cluster`, async (t) => {
    const { image, store, other, random } = await makeStore(t, CLUSTERS * CLUSTER + tail);
    const original = fs.readFileSync(image);
    for (const [name, change] of EDITS) {
      copyState(image, other);
      change(other, random);
      const changed = fs.readFileSync(other);
      const expected = differing(original, changed);
      const r = await compare({ store, snapshot: 'a', image: other });
      const found = new Set(clustersOf(r));
      const sizes = original.length === changed.length;
      const end = Math.floor(Math.min(original.length, changed.length) / CLUSTER);
      t.same(
        [...expected].filter((c) => !found.has(c)),
        [],
        `${name}: nothing is left out`,
      );
      t.same(
        [...found].filter((c) => !expected.has(c) && (sizes || c !== end)),
        [],
        name,
      );
      t.equal(r.equal, expected.size === 0 && sizes);
      t.match(r, { snapshotBytes: original.length, imageBytes: changed.length });
    }
  });
}

t.test('the command, and what it refuses', async (t) => {
  const { folder, image, store, other } = await makeStore(t, CLUSTERS * CLUSTER);
  t.match(await nvsnap(['compare', store, 'a', image]), {
    status: 0,
    stdout: `a and ${image} are equal: 11.7 MiB.\n`,
  });
  patch(other, Buffer.from('x'), 9 * CLUSTER);
  patch(other, Buffer.from('x'), 10 * CLUSTER);
  const differs = await nvsnap(['compare', store, 'latest', other]);
  t.match(differs, {
    status: 3,
    stdout: `36864+8192\na and ${other} differ in 8.00 KiB, 1 range.\n`,
  });
  const json = await nvsnap(['compare', store, 'a', other, '--json']);
  t.match(JSON.parse(json.stdout), { equal: false, ranges: [{ start: 36864, length: 8192 }] });
  for (const [args, status] of [
    [[store, 'x', image], 1],
    [[store, 'a', join(folder, 'none')], 1],
    [[store, 'a', folder], 1],
    [[store, 'a', '-'], 2],
    [[store, 'a', image, '--threads', 'write=1'], 2],
  ] as const) {
    t.match(await nvsnap(['compare', ...args]), { status });
  }
});
