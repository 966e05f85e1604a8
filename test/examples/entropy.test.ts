// examples/entropy.js: each page is counted as what it is, and nothing is changed by looking.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { restore, take } from '../../snapshot/index.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { example } from './images.js';

t.setTimeout(240_000);

const PAGE = 4096;
const CLUSTER = 4 * PAGE;

/** A table of addresses and counts. */
const tablePages = (pages: number): Buffer => {
  const bytes = Buffer.alloc(pages * PAGE);
  for (let i = 0; i * 16 < bytes.length; i += 1) {
    bytes.writeBigUInt64LE(0x7f3a_0000_1000n + BigInt(i * 48), i * 16);
    bytes.writeUInt32LE(i % 1000, i * 16 + 8);
  }
  return bytes;
};

/** This test, as text, over and over; no page is like another. */
const textPages = (pages: number): Buffer => {
  const text = fs.readFileSync(new URL(import.meta.url), 'utf8');
  const bytes = Buffer.alloc(pages * PAGE, text);
  for (let i = 0; i < pages; i += 1) bytes.write(`page ${i} of naïve text, `, i * PAGE);
  return bytes;
};

const figuresOf = (t: Test, summaries: Awaited<ReturnType<typeof take>>['summaries']) => {
  t.equal(summaries.length, 1);
  return summaries[0]?.figures ?? {};
};

t.test('zeros, text, noise and the rest', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const parts = [textPages(100), new Random(1).bytes(200 * PAGE), tablePages(60)];
  // A page of zeros in a cluster that is not, and clusters of zeros.
  const zeros = Buffer.alloc(41 * PAGE);
  fs.writeFileSync(image, Buffer.concat([...parts, zeros, Buffer.from('a short page')]));
  const asked = { image, store, clusterSize: CLUSTER };
  const all = await take({ ...asked, tag: 'one', stages: [example('entropy')] });
  const figures = figuresOf(t, all.summaries);
  // Clusters that were zeros all along have not changed.
  t.match(figures, { pages: 362, 'zero pages': 1, 'text pages': 101, 'noise pages': 200 });
  t.equal(figures['other pages'], 60);
  t.ok(Number(figures['bits per byte']) > 4 && Number(figures['bits per byte']) < 6);
  patch(image, new Random(2).bytes(PAGE), 10 * CLUSTER);
  patch(image, Buffer.alloc(CLUSTER), 3 * CLUSTER);
  const changed = await take({ ...asked, tag: 'two', stages: [example('entropy')] });
  const few = { pages: 8, 'zero pages': 4, 'text pages': 3, 'noise pages': 1 };
  t.match(figuresOf(t, changed.summaries), few, 'what has changed');
  const reading = [example('entropy', {}, { at: 'before:dedup' })];
  const read = await take({ ...asked, tag: 'three', stages: reading });
  const now = { pages: 402, 'zero pages': 45, 'noise pages': 201 };
  t.match(figuresOf(t, read.summaries), now, 'all that is read');
  t.equal(read.changedClusters, 0);
  await restore({ store, snapshot: 'three', output: join(folder, 'output') });
  t.ok(sameFile(image, join(folder, 'output')));
});

t.test('nothing to look at is no page', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  fs.writeFileSync(image, '');
  fs.truncateSync(image, 2 ** 20);
  const done = await take({ image, store, stages: [example('entropy')] });
  t.match(figuresOf(t, done.summaries), { pages: 0, 'bits per byte': 0 });
});
