// Memory that goes from one run to the next, and none that somebody may still write to.

import t from 'tap';
import { Pools, SlabPool, slabBytes } from '../../pipeline/index.js';
import { SlabStock } from '../../pipeline/stock.js';
import { BATCH_BYTES, LAYOUT, probe, runLine } from './line.js';

const KiB = 1024;

t.test('what comes back is handed out again, the smallest that is large enough', (t) => {
  const stock = new SlabStock(1024 * KiB);
  const [small, large] = [stock.take(16 * KiB), stock.take(64 * KiB)];
  t.not(stock.take(16 * KiB), small, 'nothing is handed out twice');
  stock.give([large, small], true);
  t.equal(stock.take(20 * KiB), large);
  t.equal(stock.take(10 * KiB), small);
  t.end();
});

t.test('no more is kept than the limit, and nothing that is not sound or not its own', (t) => {
  const stock = new SlabStock(100 * KiB);
  const [a, b] = [stock.take(40 * KiB), stock.take(40 * KiB)];
  stock.give([a], false);
  t.not(stock.take(40 * KiB), a, 'somebody may have a view of it');
  stock.give([b], true);
  const large = stock.take(90 * KiB);
  stock.give([large], true);
  t.not(stock.take(40 * KiB), b, 'it made room for a larger one');
  const foreign = { memory: new SharedArrayBuffer(200 * KiB), start: 0 };
  stock.give([foreign], true);
  t.not(stock.take(150 * KiB), foreign);
  const none = new SlabStock(0);
  const only = none.take(4 * KiB);
  none.give([only], true);
  t.not(none.take(4 * KiB), only);
  t.end();
});

t.test('a run that ends well gives its slabs back, any other does not', async (t) => {
  const pools = new Pools({ threads: 2, memory: 2 ** 20 });
  t.teardown(() => pools.close());
  const slabs = () => new SlabPool(LAYOUT, 4, pools.stock);
  const line = (pool: SlabPool, options: Parameters<typeof probe>[2]) =>
    runLine({
      steps: [probe('probe', 2, options).use],
      batches: 20,
      slabCount: 4,
      slabs: pool,
      pools,
    });
  const first = slabs();
  t.equal((await line(first, {})).error, undefined);
  const second = slabs();
  t.same(new Set(second.memory), new Set(first.memory));
  t.match((await line(second, { failure: 'throws', at: 9 * BATCH_BYTES })).error, {
    code: 'stage-failed',
  });
  const third = slabs();
  t.notOk(third.memory.some((memory) => second.memory.includes(memory)));
  t.ok(third.memory.every(({ memory }) => memory.byteLength >= slabBytes(LAYOUT)));
});
