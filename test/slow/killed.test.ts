// Hundreds of takes killed with kill -9, each into what the last one left, in the standard codecs.

import fs from 'node:fs';
import t from 'tap';
import { MiB } from '../../disk/index.js';
import { tempDir } from '../tools/files.js';
import { killTakes, uninterrupted, Victim } from '../tools/kills.js';
import { checkClean } from '../tools/qemu.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout(FULL ? 5 * 3_600_000 : 600_000);

const KILLS = FULL ? 150 : 3;
const IMAGE_BYTES = (FULL ? 256 : 32) * MiB;

const STORES: ReadonlyArray<readonly string[]> = [
  ['--compression', 'zstd', '--cluster-size', '64K'],
  ['--compression', 'none', '--cluster-size', '4K'],
  ['--compression', 'zlib', '--cluster-size', '2M'],
];

for (const [i, args] of STORES.entries()) {
  t.test(`killed over and over, ${args.join(' ')}`, async (t) => {
    const seed = 77 + i;
    const victim = new Victim(tempDir(t), IMAGE_BYTES, seed, args);
    const oldTags: string[] = [];
    for (const tag of ['one', 'two', 'three']) {
      const { written, storeBytes } = await uninterrupted(victim);
      const toll = await killTakes(victim, { kills: KILLS, written, seed, oldTags });
      t.comment(`${tag}: ${JSON.stringify(toll)}, of ${written} bytes that a take writes`);
      t.equal(toll.landed, KILLS);
      t.same(toll.litter, []);
      t.ok(toll.longest <= storeBytes);
      await victim.take(tag);
      oldTags.push(tag);
      checkClean(victim.store);
      t.same(await victim.tags(), oldTags);
      t.ok(fs.statSync(victim.store).size <= storeBytes);
      await victim.checkRestored(tag);
      victim.change(0.5);
    }
  });
}
