// The engine when all goes well: order, memory, back-pressure, and what each stage reports.

import t from 'tap';
import { Kind } from '../../pipeline/index.js';
import { BATCH_BYTES, LAYOUT, module, probe, runLine, threadCount, upTo } from './line.js';
import { Count } from './stages/probe.js';

t.test('batches arrive in image order, however long each takes', async (t) => {
  const slow = probe('slow', 3, { waitMs: 6 });
  const fast = probe('fast', 2);
  const seen: number[] = [];
  const place = { name: 'place', main: (batch: { offset: number }) => seen.push(batch.offset) };
  const out = await runLine({
    steps: [slow.use, place, fast.use],
    batches: 60,
    slabCount: 9,
    sink: (batch, index) => {
      if (batch.data[0] !== index || batch.data[BATCH_BYTES - 1] !== index)
        throw new Error('mixed');
    },
  });
  t.equal(out.error, undefined);
  t.same(out.arrived, upTo(60));
  t.same(
    seen,
    upTo(60).map((i) => i * BATCH_BYTES),
    'on the main thread too',
  );
  t.ok((slow.counts[Count.mostAtOnce] as number) > 1, 'and yet they ran side by side');
  t.equal(slow.counts[Count.opened], 3, 'a stage is opened once in each of its threads');
});

t.test('no more slabs are out than there are, and all come back', async (t) => {
  for (const slabCount of [1, 2, 5]) {
    const steps = [probe('a', 2, { waitMs: 2 }).use, probe('b', 2).use];
    const out = await runLine({ steps, batches: 25, slabCount });
    t.equal(out.error, undefined);
    t.equal(out.arrived.length, 25);
    t.ok(out.mostLeased <= slabCount);
    t.equal(out.slabs.idle, slabCount);
  }
});

t.test('a stage that does not get on holds up the source', async (t) => {
  const stuck = probe('stuck', 1, { hangs: true });
  const controller = new AbortController();
  let leased = 0;
  const running = runLine({
    steps: [probe('first', 1).use, stuck.use],
    batches: 1000,
    slabCount: 200,
    signal: controller.signal,
    onLease: (index) => {
      leased = index + 1;
    },
  });
  while ((stuck.counts[Count.begun] as number) === 0)
    await new Promise((next) => setTimeout(next, 5));
  let before = -1;
  while (leased !== before) {
    before = leased;
    await new Promise((next) => setTimeout(next, 100));
  }
  t.ok(leased < 30, `${leased} batches were read ahead, not all the slabs there are`);
  controller.abort();
  const out = await running;
  t.match(out.error, { code: 'cancelled' });
  t.same(out.arrived, []);
});

t.test('a batch with nothing left to do ends where it is', async (t) => {
  const drop = { ...module('drop', 'drop', 2), options: { keep: 5 } };
  const after = probe('after', 1);
  const out = await runLine({ steps: [drop, after.use], batches: 50, slabCount: 4 });
  t.equal(out.error, undefined);
  t.same(out.arrived, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
  t.equal(after.counts[Count.begun], 10);
  t.equal(out.slabs.idle, 4);
});

t.test('a batch that a stage does not want skips it, in its place', async (t) => {
  const odd = probe('odd', 2, { waitMs: 4 });
  const use = {
    ...odd.use,
    wants: (batch: { offset: number }) => (batch.offset / BATCH_BYTES) % 2 === 1,
  };
  const out = await runLine({ steps: [use], batches: 40, slabCount: 6 });
  t.same(out.arrived, upTo(40));
  t.equal(odd.counts[Count.begun], 20);
});

t.test('a stage that nobody wants starts no thread', async (t) => {
  await runLine({ steps: [module('warm', 'null', 1)], batches: 1, slabCount: 1 });
  const threads = threadCount();
  const idle = { ...module('idle', 'null', 64), wants: () => false };
  let most = 0;
  const out = await runLine({
    steps: [idle],
    batches: 20,
    slabCount: 3,
    sink: () => {
      most = Math.max(most, threadCount());
    },
  });
  t.same(out.arrived, upTo(20));
  t.ok(most <= threads, 'pools start with their first task');
});

t.test('the last batch may be short, and the null stage changes nothing', async (t) => {
  const lengths: number[] = [];
  const out = await runLine({
    steps: [module('null', 'null', 1)],
    batches: 3,
    slabCount: 2,
    short: 5000,
    sink: (batch) => {
      lengths.push(batch.length);
      if (batch.kinds.subarray(0, batch.count).some((kind) => kind !== Kind.plain)) {
        throw new Error('a kind was changed');
      }
      if (batch.lengthOf(batch.count - 1) !== ((batch.length - 1) % LAYOUT.clusterSize) + 1) {
        throw new Error('the last cluster is not short');
      }
    },
  });
  t.equal(out.error, undefined);
  t.same(lengths, [BATCH_BYTES, BATCH_BYTES, BATCH_BYTES - 5000]);
});

t.test('reports count every batch, byte and thread', async (t) => {
  const steps = [probe('one', 2).use, module('two', 'null', 1)];
  const { reports } = await runLine({ steps, batches: 11, slabCount: 4, short: 100 });
  const bytes = 11 * BATCH_BYTES - 100;
  t.match(reports, [
    { stage: 'one', threads: 2, batches: 11, bytes, queued: 0 },
    { stage: 'two', threads: 1, batches: 11, bytes, queued: 0 },
  ]);
});

t.test('nothing to do is done at once', async (t) => {
  const never = probe('never', 4);
  const out = await runLine({ steps: [never.use], batches: 0, slabCount: 1 });
  t.equal(out.error, undefined);
  t.equal(never.counts[Count.opened], 0);
});
