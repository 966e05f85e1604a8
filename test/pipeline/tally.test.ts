// What stages say of their threads' time, and the event for each batch.

import t from 'tap';
import { type BatchDone, createEmitter, type StageReport } from '../../pipeline/index.js';
import { BATCH_BYTES, module, probe, runLine } from './line.js';

const BATCHES = 24;

t.test('those before the slowest wait for room, those behind it for batches', async (t) => {
  // With few slabs, all of them are soon with the slow one or behind it; with many, its queue is full.
  for (const slabCount of [4, 20]) {
    const steps = [
      module('before', 'null', 1),
      probe('slow', 1, { busyMs: 15 }).use,
      module('behind', 'null', 1),
    ];
    const { reports } = await runLine({ steps, batches: BATCHES, slabCount });
    const [before, slow, behind] = reports as [StageReport, StageReport, StageReport];
    t.ok(before.outputShare > before.inputShare, `${slabCount} slabs: before`, { before });
    t.ok(behind.inputShare > behind.outputShare, `${slabCount} slabs: behind`, { behind });
    t.ok(slow.busyShare > before.busyShare + behind.busyShare, `${slabCount} slabs: slow`, {
      slow,
    });
    t.ok(slow.outputShare < before.outputShare, `${slabCount} slabs: it has room`, { slow });
    for (const { stage, busyShare, inputShare, outputShare } of reports) {
      t.ok(busyShare + inputShare + outputShare < 1.05, `${stage}: nothing is counted twice`);
    }
  }
});

t.test('who listens hears of every batch at every stage, in time', async (t) => {
  const events = createEmitter();
  const heard: BatchDone[] = [];
  events.on('batch', (done) => heard.push(done));
  const began = performance.now();
  const steps = [module('one', 'null', 2), probe('two', 1, { busyMs: 2 }).use];
  await runLine({ steps, batches: BATCHES, slabCount: 4, events });
  const ended = performance.now();
  for (const stage of ['one', 'two']) {
    const offsets = heard.filter((done) => done.stage === stage).map(({ offset }) => offset);
    t.same(
      offsets.toSorted((a, b) => a - b),
      Array.from({ length: BATCHES }, (_, i) => i * BATCH_BYTES),
      `${stage}: each batch once`,
    );
  }
  for (const { endedMs, workMs, bytes } of heard) {
    if (bytes !== BATCH_BYTES || workMs < 0 || endedMs < began || endedMs > ended) {
      t.fail('a batch is not as it was', { endedMs, workMs, bytes });
    }
  }
  t.ok(heard.filter(({ stage }) => stage === 'two').every(({ workMs }) => workMs >= 2));
});
