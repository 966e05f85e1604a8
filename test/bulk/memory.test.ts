// The memory of a bulk run is that of its budget, however many images there are.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeImage } from '../../bench/index.js';
import { MiB } from '../../disk/index.js';
import { tempDir } from '../tools/files.js';
import { assertFootprint, footprint } from '../tools/footprint.js';
import { writeJobs } from '../tools/jobs.js';

t.setTimeout(120_000);

const SIZE = 40 * MiB;
const COUNT = 5;

t.test('a bulk run stays within its memory', async (t) => {
  const folder = tempDir(t);
  const image = (i: number): string => join(folder, `image-${i}`);
  await makeImage({ path: image(0), size: SIZE, seed: 5 });
  for (let i = 1; i < COUNT; i += 1) fs.copyFileSync(image(0), image(i));
  const jobs = Array.from({ length: COUNT }, (_, i) => ({
    image: `image-${i}`,
    store: `store-${i}`,
  }));
  const path = writeJobs(folder, { memory: '96M', jobs });
  const dataBytes = COUNT * SIZE;
  await assertFootprint(t, 'bulk', { verb: 'bulk', jobs: path }, { dataBytes, codec: 'zstd' });
  // The same images again, most of them the parent's, with half of the budget.
  const half = writeJobs(folder, { memory: '48M', jobs });
  const { peak } = await footprint({ verb: 'bulk', jobs: half });
  t.comment(`peak ${Math.round(peak / MiB)} MiB`);
  t.ok(peak <= 350 * MiB, 'a smaller budget, a smaller process');
});
