// Bit rot: whatever byte of a store turns over, a restore gives the image exactly or refuses, and what can be
// noticed is noticed. Here for some bytes of every kind; test/slow/rot.test.ts does every single one.

import t from 'tap';
import { tempDir } from '../tools/files.js';
import { assertRot, Rot } from '../tools/rot.js';
import { makeSample } from '../tools/rot-sample.js';

t.setTimeout(180_000);

/** Of the codecs that differ in the decoder alone, fewer bytes. */
const THIN = { zstd: 3, zlib: 4, none: 4, lz4: 4 } as const;

for (const compression of ['zstd', 'zlib', 'none', 'lz4'] as const) {
  t.test(`a byte that turned over in a ${compression} store`, async (t) => {
    const rot = new Rot(t, await makeSample(tempDir(t), compression));
    await rot.some(0, THIN[compression]);
    assertRot(t, compression, rot, compression === 'none' ? ['payload'] : []);
  });
}
