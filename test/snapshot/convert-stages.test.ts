// A store without stages becomes one with them, and the other way round.

import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { convert, info, restore, take, verify } from '../../snapshot/index.js';
import { patch, randomBytes, sameFile, tempDir } from '../tools/files.js';

const example = fileURLToPath(new URL('../../../examples/aes-gcm.js', import.meta.url));

t.test('convert puts stages in and leaves them out', async (t) => {
  const folder = tempDir(t);
  const at = (name: string): string => join(folder, name);
  fs.writeFileSync(at('key'), '1f'.repeat(32));
  const stages = [`${example},key=${at('key')}`];
  fs.writeFileSync(
    at('image'),
    Buffer.concat([randomBytes(600_000, 1), Buffer.alloc(900_001, 'x')]),
  );
  await take({ image: at('image'), store: at('plain'), tag: 'one' });
  fs.copyFileSync(at('image'), at('one'));
  patch(at('image'), Buffer.from('two'), 700_000);
  await take({ image: at('image'), store: at('plain'), tag: 'two' });

  await convert({ store: at('plain'), output: at('secret'), stages });
  t.match(await info({ store: at('secret') }), {
    digest: 'blake3',
    standard: false,
    stages: [{ name: 'aes-gcm' }],
  });
  await t.rejects(verify({ store: at('secret') }), { code: 'stage-missing' });
  t.match(await verify({ store: at('secret'), stages }), { damagedClusters: 0 });
  await convert({ store: at('secret'), output: at('open'), stages, leaveStages: true });
  t.match(await info({ store: at('open') }), { standard: true, stages: [] });
  for (const [store, given] of [
    ['secret', stages],
    ['open', []],
  ] as const) {
    for (const [snapshot, truth] of [
      ['one', 'one'],
      ['two', 'image'],
    ] as const) {
      const output = at(`${store}-${snapshot}`);
      await restore({ store: at(store), snapshot, output, stages: given });
      t.ok(sameFile(output, at(truth)), `${snapshot} of ${store}`);
    }
  }
});
