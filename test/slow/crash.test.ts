// Every state that a power cut in the middle of a take, a removal or an import may leave, each shown to qemu-img check, listed,
// and restored in full. The slice takes a part of them, evenly spread.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KiB, MiB } from '../../disk/index.js';
import {
  type Crash,
  crashesOf,
  importsOf,
  judge,
  PLAIN_4K,
  removalsOf,
  type StoreKind,
  ZSTD_64K,
} from '../tools/crashes.js';
import { tempDir } from '../tools/files.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout(FULL ? 5 * 3_600_000 : 600_000);

const SEED = FULL ? 1 : 3;
const PER_CUT = FULL ? 8 : 2;
/** Of the states away from the syncs, the tools see one in so many. */
const STEP = FULL ? 2 : 50;

const KINDS: readonly StoreKind[] = [
  PLAIN_4K,
  ZSTD_64K,
  {
    name: '4K clusters, zlib',
    clusterSize: 4 * KiB,
    compression: 'zlib',
    imageBytes: 3 * MiB,
    grownBytes: 5 * MiB,
  },
  {
    name: '16K clusters, zstd',
    clusterSize: 16 * KiB,
    compression: 'zstd',
    imageBytes: 5 * MiB,
    grownBytes: 35 * MiB,
  },
];

/** Takes, removals and imports, one after another. */
async function* changesOf(folder: string, kind: StoreKind): AsyncGenerator<Crash> {
  yield* crashesOf(folder, kind, SEED);
  const beside = join(folder, 'removals');
  fs.mkdirSync(beside);
  yield* removalsOf(beside, kind, SEED);
  const imports = join(folder, 'imports');
  fs.mkdirSync(imports);
  yield* importsOf(imports, kind, SEED);
}

// The slice leaves out what the quick test does.
for (const kind of FULL ? KINDS : KINDS.slice(2)) {
  t.test(`every state of every cut: ${kind.name}`, async (t) => {
    for await (const crash of changesOf(tempDir(t), kind)) {
      let asked = 0;
      const verdict = await judge(crash, {
        seed: SEED,
        perCut: PER_CUT,
        ask: (_cut, n, special) => {
          asked += 1;
          return special ? FULL || n < 2 : asked % STEP === 0;
        },
      });
      t.ok(verdict.judged >= Math.floor(verdict.states / STEP));
      t.comment(
        `${crash.name}: ${crash.log.length} entries, ${verdict.states} states, ${verdict.judged} of ` +
          `them checked by qemu-img, ${verdict.restored} snapshots restored, ` +
          `${verdict.converted} converted`,
      );
    }
  });
}
