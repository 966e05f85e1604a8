// Bit rot: whatever byte of a store turns over, a restore gives the image exactly or refuses.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Fault, restore, take } from '../../snapshot/index.js';
import { Random, tempDir } from '../tools/files.js';

t.setTimeout(180_000);

const CLUSTER = 4096;
const FLIPS = 60;

/** Half text, half noise, a hole and a short tail. */
const content = (): Buffer => {
  const image = Buffer.alloc(24 * CLUSTER + 100, 'what is stored in an NVDIMM ');
  new Random(5).bytes(8 * CLUSTER).copy(image, 8 * CLUSTER);
  image.fill(0, 18 * CLUSTER, 21 * CLUSTER);
  return image;
};

for (const compression of ['zstd', 'zlib', 'none', 'lz4'] as const) {
  t.test(`a byte that turned over in a ${compression} store`, async (t) => {
    const folder = tempDir(t);
    const [image, store, output] = ['image', 'store', 'out'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const bytes = content();
    fs.writeFileSync(image, bytes);
    await take({ image, store, tag: 'a', compression, clusterSize: CLUSTER });
    const sound = fs.readFileSync(store);
    const random = new Random(7);
    const seen = { harmless: 0, noticed: 0, wrong: 0 };
    for (let n = 0; n < FLIPS; n += 1) {
      const damaged = Buffer.from(sound);
      const place = random.below(damaged.length);
      damaged[place] = (damaged[place] as number) ^ (1 << random.below(8));
      fs.writeFileSync(store, damaged);
      try {
        await restore({ store, snapshot: 'a', output, force: true, threads: 1 });
        if (fs.readFileSync(output).equals(bytes)) seen.harmless += 1;
        else seen.wrong += 1;
      } catch (error) {
        t.ok(error instanceof Fault, `byte ${place}: ${String(error)}`);
        seen.noticed += 1;
      }
      fs.rmSync(output, { force: true });
    }
    t.comment(`${compression}: ${JSON.stringify(seen)}`);
    t.equal(seen.wrong, 0, 'never a wrong byte');
    t.ok(seen.noticed > FLIPS / 8, 'most of what is stored is looked at');
  });
}
