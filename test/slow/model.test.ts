// Whatever is done to a store, in whatever order, it holds what a plain model in memory holds. The slice runs a
// few short sequences, the full run thousands of steps. A failure prints its seed and the shortest sequence.

import fs from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import type { CodecName } from '../../snapshot/index.js';
import { tempDir } from '../tools/files.js';
import { begin, judge, sequences } from '../tools/model.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout(FULL ? 4 * 3_600_000 : 600_000);

const RUNS = FULL ? 400 : 16;
const COMMANDS = FULL ? 40 : 25;
/** Set to repeat a run, and with the path that a failure prints one sequence of it. */
const SEED = Number(process.env.NVSNAP_SEED ?? Date.now() % 2 ** 31);
const { NVSNAP_PATH: path } = process.env;
const REPEAT = path === undefined ? {} : { path };

t.test('a store and a model of it never part', async (t) => {
  t.comment(`seed ${SEED}`);
  const counts: Record<string, number> = {};
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(12, 14, 16),
      fc.constantFrom<CodecName>('zstd', 'zlib', 'none'),
      sequences(COMMANDS),
      async (bits, codec, commands) => {
        runs += 1;
        const folder = tempDir(t);
        const { model, real } = begin(folder, bits, codec);
        try {
          await fc.asyncModelRun(() => ({ model, real }), commands);
          await judge(real.store, model.snapshots);
          if (fs.existsSync(real.backup)) await judge(real.backup, model.shipped);
        } finally {
          for (const [name, count] of Object.entries(real.counts)) {
            counts[name] = (counts[name] ?? 0) + count;
          }
          fs.rmSync(folder, { recursive: true, force: true });
        }
      },
    ),
    { numRuns: RUNS, seed: SEED, endOnFailure: FULL, includeErrorInReport: true, ...REPEAT },
  );
  const steps = Object.values(counts).reduce((sum, count) => sum + count, 0);
  t.comment(`${runs} sequences, ${steps} steps: ${JSON.stringify(counts)}`);
  t.ok(steps > RUNS * 3, 'the sequences are not empty');
});
