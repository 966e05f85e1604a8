// examples/brotli.js: a codec that nvsnap does not have, alone and with encryption behind it.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { diff, take, verify } from '../../snapshot/index.js';
import { Random, tempDir } from '../tools/files.js';
import { CLUSTER, example } from './images.js';
import { readRounds, takeRounds } from './rounds.js';

t.setTimeout(240_000);

t.test('all comes back', async (t) => {
  const stages = [example('brotli')];
  const rounds = await takeRounds(t, stages, 'none');
  await readRounds(t, rounds, stages, 'none');
  const { store } = rounds;
  const bare = await diff({ store, from: 'first', to: 'second' });
  t.match(bare, { changedBytes: 3 * CLUSTER }, 'its digests are no secret');
});

t.test('with aes-gcm behind it, too', async (t) => {
  const key = join(tempDir(t), 'key');
  fs.writeFileSync(key, '21'.repeat(32));
  const stages = [example('brotli', { quality: 1 }), example('aes-gcm', { key })];
  const rounds = await takeRounds(t, stages, 'none');
  await readRounds(t, rounds, stages, 'none');
  const turned = stages.toReversed();
  await t.rejects(verify({ ...rounds, stages: turned }), { code: 'stage-missing' });
});

t.test('what does not shrink is left plain, what does is small', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const content = Buffer.alloc(60 * CLUSTER, 'over and over ');
  // No two alike.
  for (let i = 0; i < 60; i += 1) content.write(`cluster ${i}`, i * CLUSTER);
  new Random(8).bytes(25 * CLUSTER).copy(content, 10 * CLUSTER);
  fs.writeFileSync(image, content);
  const asked = { image, store, clusterSize: CLUSTER, compression: 'none' as const };
  const done = await take({ ...asked, tag: 'one', stages: [example('brotli')] });
  t.match(done.summaries, [{ stage: 'brotli', figures: { 'clusters left plain': 25 } }]);
  t.equal(done.storedClusters, 60);
  const most = 25 * CLUSTER + 35 * 100;
  t.ok(done.storedBytes < most, 'under 100 bytes for each of the others', { done });
});

t.test('its quality is the store’s from then on', async (t) => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  const words = Array.from({ length: 40_000 }, (_, i) => `${(i * i) % 1009} `).join('');
  fs.writeFileSync(image, words);
  const bytesWith = async (name: string, ...options: readonly object[]): Promise<number> => {
    const store = join(folder, name);
    let bytes = 0;
    for (const [i, option] of options.entries()) {
      const stages = [example('brotli', { ...option })];
      const asked = { image, store, compression: 'none' as const, stages };
      bytes = (await take({ ...asked, tag: `t${i}`, parent: 'none' })).storedBytes;
    }
    return bytes;
  };
  const [fast, small] = [
    await bytesWith('fast', { quality: 0 }),
    await bytesWith('small', { quality: 11 }),
  ];
  t.ok(small < fast, 'more quality, fewer bytes');
  t.equal(await bytesWith('kept', { quality: 11 }, {}), small);
  t.equal(await bytesWith('changed', { quality: 11 }, { quality: 0 }), fast);
});

t.test('it says where it does not fit', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  fs.writeFileSync(image, 'x');
  const refused = (options: object, compression: 'none' | 'zstd') =>
    take({ image, store, compression, stages: [example('brotli', { ...options })] });
  await t.rejects(refused({}, 'zstd'), {
    code: 'usage',
    details: {
      problem: /compress \(zstd\) and brotli do not fit/,
      advice: /--compression none/,
    },
  });
  for (const options of [{ quality: 12 }, { quality: 'x' }, { quality: 1.5 }, { level: 1 }]) {
    await t.rejects(refused(options, 'none'), { code: 'usage' });
  }
  t.notOk(fs.existsSync(store));
});
