// Dependence at size: an unchanged image of 1 GiB, and 200 takes in a row.

import { join } from 'node:path';
import t from 'tap';
import { take } from '../../snapshot/index.js';
import { evolvingImage } from '../tools/evolving.js';
import { tempDir } from '../tools/files.js';
import { checkClean } from '../tools/qemu.js';
import { dataClusters, ownClusters } from '../tools/tables.js';
import { assertLinear, takeRepeatedly } from '../tools/workload.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const FULL = process.env.NVSNAP_SLOW === 'full';

t.setTimeout(1_800_000);

t.test('an unchanged image of up to 1 GiB of real data', async (t) => {
  const folder = tempDir(t);
  const size = FULL
    ? { bytes: 1024 * MiB, fill: 700 * MiB }
    : { bytes: 256 * MiB, fill: 160 * MiB };
  const image = evolvingImage(t, folder, size).path;
  const store = join(folder, 'store.qcow2');
  const first = await take({ image, store, tag: 'first' });
  const next = await take({ image, store, tag: 'next' });
  const grown = next.storeBytes - first.storeBytes;
  t.comment(`${first.storedClusters} clusters stored, then none; the file grew by ${grown} bytes`);
  t.match(next, { parent: 'first', changedClusters: 0, storedClusters: 0, storedBytes: 0 });
  t.ok(grown <= MiB, 'the file grows by at most 1 MiB', { grown });
  t.same(ownClusters(store, 'first', 'next'), []);
  t.equal(dataClusters(store, 'next'), dataClusters(store, 'first'));
  checkClean(store);
});

t.test('many takes in a row grow the file with what changed, and with nothing else', async (t) => {
  const folder = tempDir(t);
  const takes = FULL ? 201 : 61;
  for (const plan of [
    { changed: 8, clusterSize: 64 * KiB, compression: 'none', imageBytes: 8 * MiB },
    { changed: 48, clusterSize: 4 * KiB, compression: 'zstd', imageBytes: 8 * MiB },
  ] as const) {
    const workload = { ...plan, takes };
    const growth = await takeRepeatedly(folder, workload);
    assertLinear(t, growth, workload);
    checkClean(growth.store);
    const [second = 0, last = 0] = [1, takes - 1].map((i) => growth.metadataBytes[i]);
    t.comment(`${plan.clusterSize}: tables of take 2 ${second} bytes, of take ${takes} ${last}`);
  }
});
