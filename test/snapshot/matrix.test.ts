// Every codec with two kinds of cluster size, every kind of cluster size with two codecs. The slow test of the same name
// has the rest.

import t from 'tap';
import { MiB } from '../../disk/index.js';
import { info } from '../../snapshot/index.js';
import { Matrix, WHITE } from '../tools/matrix.js';

t.setTimeout(240_000);

t.test('every codec and every cluster size', async (t) => {
  const matrix = new Matrix(t, 12 * MiB);
  await matrix.judge(t, WHITE);
  await t.test('digests by BLAKE3', async (t) => {
    const { store } = await matrix.takeAndJudge(t, { digest: 'blake3' });
    t.match(await info({ store }), { digest: 'blake3', standard: true });
  });
});
