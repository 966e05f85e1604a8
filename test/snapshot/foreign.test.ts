// Files that stock QEMU made, of every sort: what nvsnap reads of them is what qemu-img reads. The whole
// matrix is in test/slow.

import t from 'tap';
import { tempDir } from '../tools/files.js';
import { makeForeign, type Recipe } from '../tools/foreign.js';
import { judgeForeign } from '../tools/foreign-judge.js';

t.setTimeout(240_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const RECIPES: readonly Recipe[] = [
  { options: 'compat=0.10', imageBytes: MiB + 700 },
  { options: 'compat=0.10,cluster_size=512', imageBytes: 200 * KiB + 300, compressed: true },
  { options: 'cluster_size=512,refcount_bits=64', imageBytes: 200 * KiB + 300 },
  { options: 'cluster_size=4k,refcount_bits=2', imageBytes: MiB + 5000 },
  { options: 'cluster_size=4k,refcount_bits=4,lazy_refcounts=on', imageBytes: MiB + 1 },
  { options: 'cluster_size=4k,refcount_bits=8', imageBytes: MiB + 511, compressed: true },
  { options: 'cluster_size=2M,refcount_bits=32', imageBytes: 5 * MiB + 700 },
  { options: 'cluster_size=2M', imageBytes: 5 * MiB + 700, compressed: true },
  { options: 'compression_type=zstd', imageBytes: 3 * MiB + 700, compressed: true, bitmap: true },
  { options: 'preallocation=metadata', imageBytes: 2 * MiB + 700 },
  { options: 'preallocation=falloc,cluster_size=4k', imageBytes: MiB + 700, bitmap: true },
  { options: 'preallocation=full', imageBytes: MiB + 700 },
  { options: 'refcount_bits=1', imageBytes: MiB + 700, single: true },
  { options: 'extended_l2=on', imageBytes: 3 * MiB + 700 },
  { options: 'extended_l2=on,cluster_size=16k', imageBytes: MiB + 700, compressed: true },
  {
    options: 'extended_l2=on,cluster_size=2M,compression_type=zstd',
    imageBytes: 5 * MiB + 700,
    compressed: true,
    bitmap: true,
  },
  {
    options: 'extended_l2=on,cluster_size=32k,preallocation=metadata,refcount_bits=8',
    imageBytes: 2 * MiB + 700,
  },
];

for (const [i, recipe] of RECIPES.entries()) {
  const { compressed, bitmap } = recipe;
  const more = `${compressed ? ', compressed' : ''}${bitmap ? ', a bitmap' : ''}`;
  t.test(`${recipe.options}${more}`, async (t) => {
    await judgeForeign(t, makeForeign(tempDir(t), { seed: i, ...recipe }));
  });
}
