// Which snapshot a take is compared with, what a snapshot may be called, and images that come from
// standard input.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type Fault, list, restore, type TakeResult, take } from '../../snapshot/index.js';
import { patch, randomBytes, sameFile, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { ownClusters } from '../tools/tables.js';

const MiB = 2 ** 20;
const CLUSTER = 65536;
const CLI = fileURLToPath(new URL('../../run/nvsnap.js', import.meta.url));

t.setTimeout(240_000);

const paths = (t: Test): { folder: string; image: string; store: string } => {
  const folder = tempDir(t);
  return { folder, image: join(folder, 'image'), store: join(folder, 'store.qcow2') };
};

t.test('a parent by tag, id, uuid, latest and none', async (t) => {
  const { folder, image, store } = paths(t);
  const judge = new Judge(folder, store);
  const original = randomBytes(4 * MiB, 1);
  const other = randomBytes(2 * MiB, 2);
  const takeAs = (tag: string, parent?: string): Promise<TakeResult> => {
    judge.remember(image, tag);
    return take({ image, store, tag, parent });
  };

  fs.writeFileSync(image, original);
  const base = await takeAs('base');
  t.match(base, { parent: null, storedClusters: 64, id: '1' });
  patch(image, other, 0);
  t.match(await takeAs('half changed'), { parent: 'base', storedClusters: 32, id: '2' });

  // The image goes back to the first state, with one more change: a twin of the first snapshot.
  fs.writeFileSync(image, original);
  patch(image, Buffer.from('x'), 3 * MiB);
  t.match(await takeAs('by latest', 'latest'), { parent: 'half changed', storedClusters: 33 });
  t.match(await takeAs('by tag', 'base'), { parent: 'base', storedClusters: 1 });
  t.match(await takeAs('by id', '#1'), { parent: 'base', storedClusters: 1 });
  t.match(await takeAs('by uuid', base.uuid.slice(0, 8)), { parent: 'base', storedClusters: 1 });
  t.match(await takeAs('by whole uuid', base.uuid.toUpperCase()), { parent: 'base' });
  t.same(ownClusters(store, 'base', 'by tag'), [(3 * MiB) / CLUSTER]);

  t.match(await takeAs('alone', 'none'), { parent: null, storedClusters: 64 });
  t.same(ownClusters(store, 'by tag', 'alone').length, 64, 'it shares nothing');
  t.match(await takeAs('after alone'), { parent: 'alone', storedClusters: 0 });
  const parents = (await list({ store })).map(({ parent }) => parent);
  const expected = [null, 'base', 'half changed', 'base', 'base', 'base', 'base', null, 'alone'];
  t.same(parents, expected);
  await judge.all(t);
});

t.test('a parent that is not there', async (t) => {
  const { image, store } = paths(t);
  fs.writeFileSync(image, randomBytes(CLUSTER, 1));
  await take({ image, store, tag: 'base' });
  const before = fs.readFileSync(store);
  for (const parent of ['bas', '#2', 'base ', 'ffffffff', '']) {
    const refused = take({ image, store, tag: 'next', parent });
    await t.rejects(refused, { code: 'snapshot-unknown' } satisfies Partial<Fault>, parent);
  }
  t.ok(before.equals(fs.readFileSync(store)), 'the store is as it was');
});

t.test('tags of every script, with every sign', async (t) => {
  const { folder, image, store } = paths(t);
  const judge = new Judge(folder, store);
  const tags = [
    'Zürich ✓ 雪 🧊',
    'before update, second try',
    'a=b,c=d',
    '"quoted" and \'so\'',
    '--json',
    '../../etc/passwd',
    '1e3',
    `${'ü'.repeat(127)}x`,
  ];
  fs.writeFileSync(image, randomBytes(3 * CLUSTER, 5));
  for (const [i, tag] of tags.entries()) {
    patch(image, Buffer.from(tag), i * 300);
    judge.remember(image, tag);
    t.equal((await take({ image, store, tag })).tag, tag);
  }
  t.same(
    (await list({ store })).map(({ tag }) => tag),
    tags,
  );
  await judge.all(t);
});

/** Runs the command line with an image on standard input. */
const pipeIn = (input: Buffer, args: readonly string[]) =>
  spawnSync(process.execPath, [CLI, ...args], { input, encoding: 'utf8' });

t.test('an image from standard input', async (t) => {
  const { folder, image, store } = paths(t);
  const judge = new Judge(folder, store);
  // Longer than several batches, with a tail, and with zeros inside.
  const content = Buffer.concat([
    randomBytes(6 * MiB, 1),
    Buffer.alloc(2 * MiB),
    randomBytes(5 * MiB + 99, 2),
  ]);
  const size = String(content.length);

  for (const [i, tag] of ['piped', 'piped again'].entries()) {
    content.fill(`${i}`, 0, 10);
    fs.writeFileSync(image, content);
    judge.remember(image, tag);
    const done = pipeIn(content, ['take', '-', store, '--size', size, '--tag', tag, '--json']);
    t.equal(done.status, 0, done.stderr);
    const { imageBytes, storedClusters, parent } = JSON.parse(done.stdout);
    t.same([imageBytes, parent], [content.length, i === 0 ? null : 'piped']);
    t.equal(storedClusters, i === 0 ? 96 + 81 : 1);
  }
  await judge.all(t);

  const before = fs.readFileSync(store);
  const refusals: ReadonlyArray<readonly [code: number, input: Buffer, args: readonly string[]]> = [
    [1, content.subarray(1), ['--size', size]],
    [1, Buffer.concat([content, Buffer.from('x')]), ['--size', size]],
    [1, Buffer.from('x'), ['--size', '0']],
    [2, content, []],
  ];
  for (const [code, input, args] of refusals) {
    const { status, stderr } = pipeIn(input, ['take', '-', store, '--tag', 'bad', ...args]);
    t.equal(status, code, `${input.length} bytes with ${args.join(' ')}: ${stderr}`);
    t.equal((await list({ store })).length, 2, 'nothing was taken');
  }
  t.ok(before.length <= fs.statSync(store).size, 'the store is not cut');
  await judge.all(t);
});

t.test('an empty image from standard input', async (t) => {
  const { folder, store } = paths(t);
  const done = pipeIn(Buffer.alloc(0), ['take', '-', store, '--size', '0', '--tag', 'empty']);
  t.equal(done.status, 0, done.stderr);
  const output = join(folder, 'out');
  const empty = join(folder, 'empty');
  fs.writeFileSync(empty, '');
  t.match(await restore({ store, snapshot: 'empty', output }), { imageBytes: 0 });
  t.ok(sameFile(output, empty));
});
