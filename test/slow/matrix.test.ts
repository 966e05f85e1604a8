// Every codec with every kind of cluster size. The slice has those that the quick test leaves out.

import t from 'tap';
import { MiB } from '../../disk/index.js';
import { ALL, BLACK, Matrix } from '../tools/matrix.js';

const FULL = process.env.NVSNAP_SLOW === 'full';

t.setTimeout(600_000);

t.test(`${FULL ? 'all' : 'half of all'} combinations`, async (t) => {
  await new Matrix(t, (FULL ? 64 : 16) * MiB).judge(t, FULL ? ALL : BLACK);
});
