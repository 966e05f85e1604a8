// What is measured on: images and changes, the same from the same seed.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CONTENTS, makeImage, PATTERNS } from '../../bench/index.js';
import { changeImage, type Pattern } from '../../bench/workload/change.js';
import { tempDir } from '../tools/files.js';

const MiB = 2 ** 20;
const CLUSTER = 65_536;
const PAGE = 4096;

/** Files of our own: one of this machine's may be most of so small an image. */
const makeRoots = (folder: string): string[] => {
  const roots = [join(folder, 'files')];
  fs.mkdirSync(roots[0] as string);
  const text = fs.readFileSync(process.execPath).subarray(0, 500_000);
  for (let n = 1; n <= 40; n += 1) {
    fs.writeFileSync(join(folder, 'files', `${n}`), Buffer.alloc(n * 10_007, text.subarray(n)));
  }
  return roots;
};

const zeroPages = (bytes: Buffer): number => {
  const zero = Buffer.alloc(PAGE);
  let count = 0;
  for (let at = 0; at < bytes.length; at += PAGE) {
    if (bytes.subarray(at, at + PAGE).equals(zero)) count += 1;
  }
  return count;
};

t.test('an image comes out the same from the same seed, and has its shares', async (t) => {
  const dir = tempDir(t);
  const roots = makeRoots(dir);
  const make = async (name: string, seed: number) => {
    const path = join(dir, name);
    const facts = await makeImage({ path, size: 32 * MiB, seed, roots });
    return { facts, bytes: fs.readFileSync(path) };
  };
  const [a, again, other] = [await make('a', 7), await make('again', 7), await make('other', 8)];
  t.equal(a.bytes.length, 32 * MiB);
  t.ok(a.bytes.equals(again.bytes), 'same seed, same bytes');
  t.same(a.facts, again.facts);
  t.notOk(a.bytes.equals(other.bytes), 'another seed, other bytes');
  const { size, parts } = a.facts;
  t.ok(parts.zeros > 0.25 * size && parts.zeros < 0.5 * size, 'zeros', { parts });
  for (const part of ['files', 'copies', 'noise', 'database', 'memory'] as const) {
    t.ok(parts[part] > 0, part);
  }
  t.equal(
    Object.values(parts).reduce((sum, bytes) => sum + bytes, 0),
    size,
    'every byte is some part',
  );
  t.ok(zeroPages(a.bytes) * PAGE >= 0.25 * size, 'zero pages are what was counted as zeros');
});

t.test('files that come again do not make equal clusters', async (t) => {
  const dir = tempDir(t);
  const roots = [join(dir, 'files')];
  fs.mkdirSync(roots[0] as string);
  const text = fs.readFileSync(process.execPath).subarray(0, 3 * MiB);
  fs.writeFileSync(join(dir, 'files', 'only'), text);
  const path = join(dir, 'image');
  await makeImage({ path, size: 16 * MiB, seed: 1, content: 'files', roots });
  const bytes = fs.readFileSync(path);
  const seen = new Map<string, number>();
  for (let at = 0; at < bytes.length; at += CLUSTER) {
    const cluster = bytes.toString('latin1', at, at + CLUSTER);
    seen.set(cluster, (seen.get(cluster) ?? 0) + 1);
  }
  const zeros = '\0'.repeat(CLUSTER);
  const twice = [...seen].filter(([cluster, count]) => cluster !== zeros && count > 2);
  t.same(twice.length, 0, 'but for the copies that are meant');
});

t.test('every kind of content is what it is called', async (t) => {
  const dir = tempDir(t);
  const roots = makeRoots(dir);
  for (const content of CONTENTS) {
    const path = join(dir, `${content}.img`);
    const { parts } = await makeImage({ path, size: 2 * MiB, seed: 1, content, roots });
    const bytes = fs.readFileSync(path);
    if (content === 'zeros') t.equal(zeroPages(bytes) * PAGE, bytes.length);
    if (content === 'random') t.equal(zeroPages(bytes), 0);
    if (content === 'database') {
      const at = bytes.indexOf(Buffer.from([0, 0x20]), PAGE);
      t.ok(at > 0, 'pages say how large they are');
    }
    const [most] = Object.entries(parts).sort((a, b) => b[1] - a[1])[0] ?? [];
    // So small a mixed image is mostly what it begins with.
    if (content === 'mixed') continue;
    const named = content === 'random' ? 'noise' : content;
    t.equal(most, named, `${content} is mostly that`);
  }
});

/** Clusters that differ, and how many of their pages. */
const differences = (a: Buffer, b: Buffer): { clusters: number[]; pages: number } => {
  const clusters: number[] = [];
  let pages = 0;
  for (let at = 0; at < a.length; at += PAGE) {
    if (a.subarray(at, at + PAGE).equals(b.subarray(at, at + PAGE))) continue;
    pages += 1;
    const cluster = Math.floor(at / CLUSTER);
    if (clusters.at(-1) !== cluster) clusters.push(cluster);
  }
  return { clusters, pages };
};

t.test('changes follow their pattern, say where they were, and can be undone', async (t) => {
  const path = join(tempDir(t), 'image');
  await makeImage({ path, size: 16 * MiB, seed: 1, content: 'memory' });
  const before = fs.readFileSync(path);
  const counts: Record<Pattern, number> = { idle: 0, scattered: 32, hot: 32, bulk: 32, delete: 32 };
  for (const pattern of PATTERNS) {
    const { extents, undo } = changeImage(path, {
      pattern,
      clusterSize: CLUSTER,
      count: 32,
      seed: 5,
    });
    const after = fs.readFileSync(path);
    const { clusters, pages } = differences(before, after);
    let within = 0;
    for (const { start, end } of extents) {
      within += differences(before.subarray(start, end), after.subarray(start, end)).pages;
    }
    t.equal(within, pages, `${pattern}: what changed lies in its extents`);
    if (pattern === 'hot') t.ok(clusters.length < 20, 'hot: few clusters', { clusters });
    else t.equal(clusters.length, counts[pattern], `${pattern}: as many clusters as asked for`);
    if (pattern === 'scattered') t.equal(pages, 32, 'a page in each');
    if (pattern === 'bulk') t.equal(pages, 32 * 16, 'every page of them');
    if (pattern === 'delete') {
      const zeros = clusters.every(
        (i) => !after.subarray(i * CLUSTER, (i + 1) * CLUSTER).some(Boolean),
      );
      t.ok(zeros, 'zeros');
    }
    undo();
    t.ok(fs.readFileSync(path).equals(before), `${pattern}: undone`);
  }
});
