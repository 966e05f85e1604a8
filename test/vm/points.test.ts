// The folder of a machine's points, without a machine.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { list } from '../../snapshot/index.js';
import { PointsFolder } from '../../vm/points.js';
import { makeChain, misdirect } from '../qcow2/chain.js';
import { tempDir } from '../tools/files.js';

t.setTimeout(60_000);

t.test('space that a point cannot give back is told, by its store', async (t) => {
  const said: string[] = [];
  const folder = new PointsFolder(join(tempDir(t), 'points'), (sentence) => said.push(sentence));
  await folder.open();
  t.teardown(() => folder.close());
  const { store } = await makeChain(t, ['point', 'later']);
  misdirect(store, ['point', 50], ['later', 10]);
  const memory = folder.memoryStore('nv0');
  fs.renameSync(store, memory);
  folder.begin('point', [{ store: memory, snapshot: 'point' }]);
  await folder.abandon('point');
  t.match(said, [/^memory\/nv0\.qcow2: The tables of "point" were damaged, so what only they/]);
  t.same(
    (await list({ store: memory })).map(({ tag }) => tag),
    ['later'],
  );
});
