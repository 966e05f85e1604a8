// Memory is bounded by the slabs, not by the image: a small version of test/slow/memory.test.ts.

import { join } from 'node:path';
import t from 'tap';
import { makeImage } from '../../bench/index.js';
import { sameFile, tempDir } from '../tools/files.js';
import { assertFootprint } from '../tools/footprint.js';

t.setTimeout(120_000);

const SIZE = 256 * 2 ** 20;

t.test('take and restore stay within their memory', async (t) => {
  const dir = tempDir(t);
  const image = join(dir, 'image');
  await makeImage({ path: image, size: SIZE, seed: 5 });
  for (const codec of ['zstd', 'lz4'] as const) {
    const store = join(dir, `${codec}.qcow2`);
    const output = join(dir, `${codec}.img`);
    const what = { dataBytes: SIZE, codec };
    const taking = { image, store, tag: 'a', compression: codec };
    await assertFootprint(t, `take ${codec}`, { verb: 'take', options: taking }, what);
    const restoring = { store, snapshot: 'a', output };
    await assertFootprint(t, `restore ${codec}`, { verb: 'restore', options: restoring }, what);
    t.ok(sameFile(image, output), `${codec}: restored as it was`);
  }
});
