// Files that stock QEMU made: every combination of cluster size, refcount width, compression, extended L2
// entries and preallocation, with lazy refcounts and bitmaps thrown in. The slice takes some of them.

import fs from 'node:fs';
import t from 'tap';
import { Random, tempDir } from '../tools/files.js';
import { makeForeign, type Recipe } from '../tools/foreign.js';
import { judgeForeign } from '../tools/foreign-judge.js';

const KiB = 1024;
const MiB = 1024 * KiB;

const FULL = process.env.NVSNAP_SLOW === 'full';
/** One of so many is in the slice; it has no factor in common with how the combinations repeat. */
const SLICE = 17;

t.setTimeout((FULL ? 120 : 10) * 60_000);

const CLUSTERS = ['512', '4k', '16k', '64k', '2M'] as const;
const EXTENDED: readonly string[] = ['16k', '64k', '2M'];
const WIDTHS = [1, 2, 4, 8, 16, 32, 64];
const CONTENTS = ['off', 'metadata', 'falloc', 'full', 'zlib', 'zstd'] as const;
const CODECS: readonly string[] = ['zlib', 'zstd'];
const BYTES = { '512': 300 * KiB, '4k': MiB, '16k': MiB, '64k': 3 * MiB, '2M': 9 * MiB };

const random = new Random(11);

/** A file with an odd end, whose content comes from its seed. */
const recipeOf = (cluster: keyof typeof BYTES, content: string, options: string[]): Recipe => {
  const packed = CODECS.includes(content);
  return {
    options: [`cluster_size=${cluster}`, ...options].join(),
    imageBytes: BYTES[cluster] + random.below(2000),
    compressed: packed,
    seed: random.next(),
  };
};

/** Version 2 knows nothing of what is below. */
function* oldRecipes(): Generator<Recipe> {
  for (const cluster of CLUSTERS) {
    for (const content of ['off', 'metadata', 'full', 'zlib']) {
      const more = content === 'zlib' ? [] : [`preallocation=${content}`];
      yield recipeOf(cluster, content, ['compat=0.10', ...more]);
    }
  }
}

function* recipes(): Generator<Recipe> {
  yield* oldRecipes();
  for (const width of WIDTHS) {
    for (const cluster of CLUSTERS) {
      for (const content of CONTENTS) {
        const packed = CODECS.includes(content);
        // Payloads share clusters, and so need more than two or four bits can count.
        if (packed && (width === 2 || width === 4)) continue;
        // With one bit nothing may be shared, not even a table.
        if (width === 1 && !packed && content !== 'off') continue;
        for (const extended of EXTENDED.includes(cluster) ? ['off', 'on'] : ['off']) {
          const recipe = recipeOf(cluster, content, [
            `refcount_bits=${width}`,
            `extended_l2=${extended}`,
            packed ? `compression_type=${content}` : `preallocation=${content}`,
            `lazy_refcounts=${random.below(2) === 0 ? 'on' : 'off'}`,
          ]);
          yield { ...recipe, bitmap: random.below(3) === 0, single: width === 1 };
        }
      }
    }
  }
}

const chosen = [...recipes()].filter((_, i) => FULL || i % SLICE === 0);

t.test(`${chosen.length} files`, async (t) => {
  for (const recipe of chosen) {
    const { options, compressed, bitmap, seed } = recipe;
    const name = `${options}${compressed ? ', -c' : ''}${bitmap ? ', bitmap' : ''}, seed ${seed}`;
    await t.test(name, async (t) => {
      const folder = tempDir(t);
      await judgeForeign(t, makeForeign(folder, recipe));
      fs.rmSync(folder, { recursive: true });
    });
  }
});
