// examples/mask.js: what comes back is the image with each pattern masked, wherever it lay.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { compare, Fault, Pools, restore, take } from '../../snapshot/index.js';
import { Random, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { BATCH_BYTES, CLUSTER, example, SMALL_MEMORY } from './images.js';

t.setTimeout(240_000);

const SIZE = 7 * BATCH_BYTES + 3 * CLUSTER + 55;
const PATTERN = Buffer.from('MmMmSecretM');
const N = PATTERN.length;

/** What masking has to make of it: written as simply as can be. */
const masked = (image: Buffer, pattern = PATTERN, by = 0): Buffer => {
  const bytes = Buffer.from(image);
  for (let at = 0; at + pattern.length <= image.length; at += 1) {
    if (image[at] === pattern[0] && image.subarray(at, at + pattern.length).equals(pattern)) {
      bytes.fill(by, at, at + pattern.length);
    }
  }
  return bytes;
};

/** How often it is there, those that overlap too. */
const count = (image: Buffer, pattern = PATTERN): number => {
  let found = 0;
  for (let at = image.indexOf(pattern); at >= 0; at = image.indexOf(pattern, at + 1)) found += 1;
  return found;
};

/** Noise with the pattern at both ends, across borders of clusters and, cut at every place, of batches. */
const plantedImage = (): Buffer => {
  const image = new Random(4).bytes(SIZE);
  const plant = (at: number): void => void PATTERN.copy(image, at);
  for (const at of [0, 700, 3 * CLUSTER - 2, SIZE - N]) plant(at);
  // Two that share their M.
  plant(9000);
  plant(9000 + N - 1);
  for (let border = 1; border <= 7; border += 1) plant(border * BATCH_BYTES - border - 2);
  // A beginning and an end at a border that are no pattern.
  PATTERN.copy(image, 5 * CLUSTER - 4, 0, 4);
  return image;
};

const openTrial = (t: Test) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const pools = new Pools();
  t.teardown(() => pools.close());
  const asked = { image, store, clusterSize: CLUSTER, memory: SMALL_MEMORY, pools };
  return { folder, image, store, pools, asked };
};

t.test('with the image at hand it is exact, in every snapshot', async (t) => {
  const { folder, image, store, pools, asked } = openTrial(t);
  const stages = [example('mask', { text: PATTERN.toString(), image })];
  const judge = new Judge(folder, store);
  const content = plantedImage();
  const expected = join(folder, 'expected');
  const takeAs = async (tag: string, dirty?: string) => {
    fs.writeFileSync(image, content);
    fs.writeFileSync(expected, masked(content));
    judge.remember(expected, tag);
    return take({ ...asked, tag, stages, dirty });
  };
  const first = await takeAs('first');
  t.ok(first.stages.some(({ stage, batches }) => stage === 'mask' && batches === 8));
  t.match(first.summaries, [{ figures: { patterns: count(content), 'bytes masked in doubt': 0 } }]);
  t.equal(count(content), 13);
  const same = await takeAs('same');
  t.match(same, { changedClusters: 0 }, 'what is masked again is the same');
  PATTERN.copy(content, 2 * BATCH_BYTES + 5 * CLUSTER - 3);
  content.write('no secret any more', 2 * BATCH_BYTES - 6);
  t.match(await takeAs('later'), { changedClusters: 4 });
  await judge.all(t);
  const compared = { store, snapshot: 'later', pools };
  t.match(await compare({ ...compared, image: expected }), { equal: true });
  t.match(await compare({ ...compared, image }), { equal: false });
});

/** A bitmap of pages in which only that of each of `places` is set. */
const bitmapOf = (places: readonly number[]): Buffer => {
  const bits = Buffer.alloc(Math.ceil(SIZE / CLUSTER / 64) * 8);
  for (const at of places) {
    const page = Math.floor(at / CLUSTER);
    bits[page >> 3] = (bits[page >> 3] as number) | (1 << (page & 7));
  }
  return bits;
};

t.test('with a bitmap only what may have changed is read, the rest found as it was', async (t) => {
  const { folder, image, store, asked } = openTrial(t);
  const stages = [example('mask', { hex: PATTERN.toString('hex'), image, by: '2a' })];
  const content = plantedImage();
  const changed = 4 * BATCH_BYTES + 9 * CLUSTER;
  // The beginning of a pattern: no secret yet.
  PATTERN.copy(content, changed - 4, 0, 4);
  fs.writeFileSync(image, content);
  const { uuid } = await take({ ...asked, tag: 'first', stages });
  const bitmap = join(folder, 'bitmap');
  const output = join(folder, 'output');
  const takeAfter = async (tag: string, since: string, audit: number) => {
    fs.writeFileSync(image, content);
    fs.writeFileSync(bitmap, bitmapOf([changed]));
    const dirty = `bitmap:${bitmap},since=${since}`;
    const done = await take({ ...asked, tag, stages, dirty, audit });
    await restore({ store, snapshot: tag, output, force: true });
    return done;
  };
  PATTERN.copy(content, changed + 100);
  const second = await takeAfter('second', uuid, 100);
  t.match(second, { dirty: { fallback: null, audit: { missed: 0 } }, changedClusters: 1 });
  t.ok(fs.readFileSync(output).equals(masked(content, PATTERN, 0x2a)));
  // Now it is one, of which this half is not read.
  PATTERN.copy(content, changed, 4);
  const third = await takeAfter('third', second.uuid, 0);
  t.match(third, { dirty: { fallback: null }, changedClusters: 1 });
  const half = masked(content, PATTERN, 0x2a);
  content.copy(half, changed - 4, changed - 4, changed);
  t.ok(fs.readFileSync(output).equals(half));
});

t.test('without it nothing gets through, and only ends of batches are masked beyond', async (t) => {
  const { folder, image, store, asked } = openTrial(t);
  const content = plantedImage();
  // Both ends of this border could be a pattern's, and are none.
  content.write('Mm', 4 * BATCH_BYTES - 2);
  content.write('M', 5 * BATCH_BYTES);
  fs.writeFileSync(image, content);
  const key = join(folder, 'pattern');
  fs.writeFileSync(key, `${PATTERN}\n`);
  const done = await take({ ...asked, tag: 'one', stages: [example('mask', { file: key })] });
  const output = join(folder, 'output');
  await restore({ store, snapshot: 'one', output });
  const [back, exact] = [fs.readFileSync(output), masked(content)];
  let doubtful = 0;
  for (let at = 0; at < SIZE; at += 1) {
    if (back[at] === exact[at]) continue;
    doubtful += 1;
    const border = Math.round(at / BATCH_BYTES) * BATCH_BYTES;
    t.equal(back[at], 0, 'what differs is masked');
    t.ok(Math.abs(at - border) < N, 'at a border');
  }
  t.ok(doubtful >= 3);
  const [summary] = done.summaries;
  t.ok(Number(summary?.figures['bytes masked in doubt']) >= doubtful);
});

t.test('several patterns, also where they overlap across a border', async (t) => {
  const { folder, image, store, asked } = openTrial(t);
  const [one, two] = [Buffer.from('first secret'), Buffer.from('secret number two')];
  const content = new Random(12).bytes(3 * BATCH_BYTES);
  for (const at of [50, BATCH_BYTES - 7, 2 * BATCH_BYTES - 13]) {
    one.copy(content, at);
    two.copy(content, at + 6);
  }
  two.copy(content, 3 * BATCH_BYTES - two.length);
  fs.writeFileSync(image, content);
  const file = join(folder, 'patterns');
  fs.writeFileSync(file, `${one}\n\n${two}\n`);
  const done = await take({ ...asked, tag: 'one', stages: [example('mask', { file, image })] });
  t.match(done.summaries, [{ figures: { patterns: 7 } }]);
  const expected = Buffer.from(content);
  for (const pattern of [one, two]) {
    for (let at = 0; (at = content.indexOf(pattern, at)) >= 0; at += 1) {
      expected.fill(0, at, at + pattern.length);
    }
  }
  const output = join(folder, 'output');
  await restore({ store, snapshot: 'one', output });
  t.ok(fs.readFileSync(output).equals(expected));
  // What another stage has changed is not what the file holds.
  const ranges = join(folder, 'ranges');
  fs.writeFileSync(ranges, `${BATCH_BYTES - 3} 5`);
  const stages = [example('free-pages', { ranges }), example('mask', { file, image })];
  await t.rejects(take({ ...asked, tag: 'two', stages }), {
    code: 'stage-failed',
    message: /was changed by another stage before/,
  });
  await take({ ...asked, tag: 'two', stages: stages.toReversed() });
  await restore({ store, snapshot: 'two', output, force: true });
  expected.fill(0, BATCH_BYTES - 3, BATCH_BYTES + 2);
  t.ok(fs.readFileSync(output).equals(expected), 'so mask comes first');
});

t.test('a hole beside a pattern stays one', async (t) => {
  const { folder, image, store, asked } = openTrial(t);
  const pattern = Buffer.from('key\0\0');
  const fd = fs.openSync(image, 'w');
  fs.ftruncateSync(fd, 2 * BATCH_BYTES);
  fs.writeSync(fd, Buffer.alloc(4096, 'data'), 0, 4096, 16 * CLUSTER);
  fs.writeSync(fd, pattern, 0, 3, 17 * CLUSTER - 3);
  fs.closeSync(fd);
  const stages = [example('mask', { hex: pattern.toString('hex'), image, by: '58' })];
  await take({ ...asked, tag: 'one', stages });
  const output = join(folder, 'output');
  await restore({ store, snapshot: 'one', output });
  const expected = fs.readFileSync(image);
  expected.fill('X', 17 * CLUSTER - 3, 17 * CLUSTER);
  t.ok(fs.readFileSync(output).equals(expected));
});

t.test('it says what it cannot do', async (t) => {
  const { folder, image, store, asked } = openTrial(t);
  fs.writeFileSync(image, plantedImage());
  const other = join(folder, 'other');
  fs.writeFileSync(other, new Random(77).bytes(SIZE));
  const failure = (options: Record<string, unknown>, at?: 'before:compress'): Promise<string> =>
    take({ ...asked, stages: [example('mask', options, at ? { at } : {})] }).then(
      () => 'none',
      (error: unknown) => (error instanceof Fault ? error.message : String(error)),
    );
  const text = PATTERN.toString();
  t.match(
    await failure({ text, image: other }),
    /mask failed at image .*is not the image that is taken/,
  );
  t.match(await failure({ text, image: join(folder, 'none') }), /none: no such file/);
  t.match(await failure({}), /needs one of text=, hex= and file=/);
  t.match(await failure({ text, hex: '00' }), /needs one of/);
  t.match(await failure({ hex: 'abc' }), /not hexadecimal bytes/);
  t.match(await failure({ hex: '6100' }), /holds the byte that it is masked with/);
  t.match(await failure({ text, by: '0102' }), /more than one byte/);
  t.match(await failure({ text: '' }), /not of 1 to 1024 bytes/);
  fs.writeFileSync(join(folder, 'empty'), '\n\n');
  t.match(await failure({ file: join(folder, 'empty') }), /holds no pattern/);
  t.match(await failure({ text: 'x'.repeat(1025) }), /not of 1 to 1024 bytes/);
  t.match(await failure({ text, pattern: 'x' }), /no option "pattern"/);
  t.match(await failure({ text }, 'before:compress'), /cannot stand before:compress/);
  t.notOk(fs.existsSync(store), 'no store is left of any');
});
