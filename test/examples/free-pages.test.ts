// examples/free-pages.js: what is named comes back as zeros, all else as it was.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Fault, Pools, take } from '../../snapshot/index.js';
import { patch, Random, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { BATCH_BYTES, CLUSTER, example, SMALL_MEMORY } from './images.js';

t.setTimeout(240_000);

const SIZE = 3 * BATCH_BYTES + 2 * CLUSTER + 99;
const SIZE_CLUSTERS = Math.ceil(SIZE / CLUSTER);

const openTrial = (t: Test) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const pools = new Pools();
  t.teardown(() => pools.close());
  fs.writeFileSync(image, new Random(6).bytes(SIZE));
  const judge = new Judge(folder, store);
  const asked = { image, store, clusterSize: CLUSTER, memory: SMALL_MEMORY, pools };
  /** Takes it, and expects these ranges to be zeros. */
  const takeAs = (tag: string, options: object, free: readonly (readonly [number, number])[]) => {
    const expected = fs.readFileSync(image);
    for (const [start, end] of free) expected.fill(0, start, end);
    fs.writeFileSync(join(folder, 'expected'), expected);
    judge.remember(join(folder, 'expected'), tag);
    return take({ ...asked, tag, stages: [example('free-pages', { ...options })] });
  };
  return { folder, image, store, judge, asked, takeAs };
};

t.test('a list of ranges, in any order, across all borders', async (t) => {
  const { folder, image, judge, takeAs } = openTrial(t);
  const ranges = join(folder, 'ranges');
  const list = [
    '# offset length',
    `0x${(2 * BATCH_BYTES - 5000).toString(16)} 0x${(10000).toString(16)}   # across two batches`,
    '',
    `${20 * CLUSTER} ${3 * CLUSTER}`,
    '0 1',
    `${22 * CLUSTER} ${2 * CLUSTER}`,
    `${21 * CLUSTER} 17`,
    `${SIZE - 7} 4096`,
  ];
  fs.writeFileSync(ranges, list.join('\n'));
  const free = [
    [0, 1],
    [20 * CLUSTER, 24 * CLUSTER],
    [2 * BATCH_BYTES - 5000, 2 * BATCH_BYTES + 5000],
    [SIZE - 7, SIZE],
  ] as const;
  const first = await takeAs('first', { ranges }, free);
  const bytes = free.reduce((all, [start, end]) => all + end - start, 0);
  t.match(first.summaries, [{ stage: 'free-pages', figures: { 'bytes zeroed': bytes } }]);
  patch(image, Buffer.from('in a free page'), 21 * CLUSTER + 5);
  t.match(await takeAs('second', { ranges }, free), { changedClusters: 0 });
  fs.writeFileSync(ranges, `0 ${2 * CLUSTER}\n`);
  // Two clusters were freed; six that were free or in part have their bytes again, and the end.
  const third = await takeAs('third', { ranges }, [[0, 2 * CLUSTER]]);
  t.match(third, { zeroedClusters: 2, changedClusters: 2 + 4 + 4 + 1 });
  await judge.all(t);
});

t.test('a bitmap', async (t) => {
  const { folder, judge, takeAs } = openTrial(t);
  const bitmap = join(folder, 'bitmap');
  fs.writeFileSync(bitmap, Buffer.from([0b0000_0101, 0b1000_0000]));
  const first = [
    [0, 4096],
    [2 * 4096, 3 * 4096],
    [15 * 4096, 16 * 4096],
  ] as const;
  t.match(await takeAs('pages', { bitmap }, first), { storedClusters: SIZE_CLUSTERS - 3 });
  const large = first.map(([start, end]) => [start * 16, Math.min(SIZE, end * 16)] as const);
  t.match(await takeAs('large', { bitmap, page: 65536 }, large), { zeroedClusters: 45 });
  fs.writeFileSync(bitmap, Buffer.alloc(SIZE, 0xff));
  t.match(await takeAs('all', { bitmap }, [[0, SIZE]]), { storedClusters: 0 });
  await judge.all(t);
});

t.test('what cannot be read is refused before anything happens', async (t) => {
  const { folder, store, asked } = openTrial(t);
  const file = join(folder, 'file');
  const failure = (options: object, text = ''): Promise<string> => {
    fs.writeFileSync(file, text);
    return take({ ...asked, stages: [example('free-pages', { ...options })] }).then(
      () => 'none',
      (error: unknown) => (error instanceof Fault ? error.message : String(error)),
    );
  };
  for (const line of ['12', '1 2 3', '-1 5', '1.5 2', 'a b', '0x 1', '9007199254740991 1']) {
    t.match(await failure({ ranges: file }, `0 4096\n${line}\n`), `"${line}" is not OFFSET LENGTH`);
  }
  t.match(await failure({}), /needs ranges=FILE or bitmap=FILE/);
  t.match(await failure({ ranges: file, bitmap: file }), /needs ranges=FILE or bitmap=FILE/);
  t.match(await failure({ ranges: file, page: 4096 }), /page= is for a bitmap/);
  t.match(await failure({ bitmap: file, page: 3000 }), /not a power of 2/);
  t.match(await failure({ ranges: join(folder, 'none') }), /none: no such file/);
  t.match(await failure({ list: file }), /no option "list"/);
  t.notOk(fs.existsSync(store));
});
