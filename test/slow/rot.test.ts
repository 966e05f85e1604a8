// Bit rot at every single byte of a store, in each codec. The slice does some of them, others than the quick
// test does.

import t from 'tap';
import { tempDir } from '../tools/files.js';
import { assertRot, Rot } from '../tools/rot.js';
import { encrypted, makeSample } from '../tools/rot-sample.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout(FULL ? 4 * 3_600_000 : 600_000);

for (const compression of ['zstd', 'zlib', 'none', 'lz4'] as const) {
  t.test(`every byte of a ${compression} store`, async (t) => {
    const rot = new Rot(t, await makeSample(tempDir(t), compression));
    await (FULL ? rot.all() : rot.some(1, 2));
    assertRot(t, compression, rot, compression === 'none' ? ['payload'] : []);
  });
}

t.test('every byte of an encrypted store', async (t) => {
  const folder = tempDir(t);
  const rot = new Rot(t, await makeSample(folder, 'none', [encrypted(folder)]));
  await (FULL ? rot.all() : rot.some(1, 8));
  assertRot(t, 'aes-gcm', rot, ['data']);
});
