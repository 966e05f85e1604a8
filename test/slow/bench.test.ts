// The cases of the benchmark that make many images or snapshots, small.

import t from 'tap';
import { judgeBench } from '../tools/bench.js';

t.setTimeout(300_000);

t.test('large images, many images and long histories', async (t) => {
  const { results } = await judgeBench(t, ['scale', 'sparse', 'bulk', 'history']);
  t.same(
    results.flatMap((result) => (result.case === 'bulk' ? result.ratios : [])).map((r) => r.peer),
    ['single', 'processes'],
    'bulk is held against one image, and against processes',
  );
});
