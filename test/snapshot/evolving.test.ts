// A real file system that changes between takes. The slow test of the same name goes on for longer, with a larger one.

import t from 'tap';
import { evolveAndJudge } from '../tools/evolve.js';

const MiB = 2 ** 20;

t.setTimeout(240_000);

t.test('three rounds of a real file system', (t) =>
  evolveAndJudge(t, { bytes: 64 * MiB, fill: 36 * MiB, rounds: 3 }),
);

t.test('the same by debugfs, which needs neither root nor loop devices', (t) =>
  evolveAndJudge(t, { bytes: 24 * MiB, fill: 12 * MiB, rounds: 2, method: 'debugfs' }),
);
