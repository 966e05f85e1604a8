// A real file system that changes between takes, for longer. The slice stops early.

import t from 'tap';
import { evolveAndJudge } from '../tools/evolve.js';

const MiB = 2 ** 20;
const FULL = process.env.NVSNAP_SLOW === 'full';

t.setTimeout((FULL ? 30 : 10) * 60_000);

t.test('a real file system', (t) =>
  evolveAndJudge(t, { bytes: 96 * MiB, fill: 56 * MiB, rounds: FULL ? 10 : 2 }),
);

t.test('the same by debugfs', (t) =>
  evolveAndJudge(t, {
    bytes: 24 * MiB,
    fill: 12 * MiB,
    rounds: FULL ? 6 : 1,
    method: 'debugfs',
  }),
);
