// Threads that outlive a run, and threads that are not started where they would not pay.

import t from 'tap';
import { Pools } from '../../pipeline/index.js';
import { BATCH_BYTES, module, probe, runLine, settledThreads, threadCount, upTo } from './line.js';
import { Count } from './stages/probe.js';

t.test('pools serve one run after another, each as it asks', async (t) => {
  const before = threadCount();
  const pools = new Pools();
  const first = probe('probe', 2);
  await runLine({ steps: [first.use], batches: 20, slabCount: 4, pools });
  const threads = threadCount();
  t.ok(threads >= before + 2, 'they stay when the run ends');

  // Another counter, other slabs: nothing of the first run may be left in the threads.
  const second = probe('probe', 2, { waitMs: 2 });
  const out = await runLine({ steps: [second.use], batches: 30, slabCount: 6, pools });
  t.equal(out.error, undefined);
  t.same(out.arrived, upTo(30));
  t.equal(first.counts[Count.begun], 20);
  t.equal(second.counts[Count.begun], 30);
  t.equal(second.counts[Count.opened], 2, 'the stage is opened anew in each thread');
  t.equal(threadCount(), threads, 'no thread is started for it');
  await pools.close();
  t.ok((await settledThreads(before)) <= before, 'closing ends them');
});

t.test('another number of threads, or another stage, gets threads of its own', async (t) => {
  const before = threadCount();
  const pools = new Pools();
  for (const threads of [1, 3]) {
    const stage = probe('probe', threads, { waitMs: 2 });
    const out = await runLine({ steps: [stage.use], batches: 20, slabCount: 8, pools });
    t.same(out.arrived, upTo(20));
    t.equal(stage.counts[Count.opened], threads);
  }
  const other = { ...module('probe', 'drop', 3), options: { keep: 4 } };
  const out = await runLine({ steps: [other], batches: 12, slabCount: 8, pools });
  t.same(out.arrived, [0, 4, 8]);
  await pools.close();
  t.ok((await settledThreads(before)) <= before);
});

t.test('spare threads go to the first stage that wants so many', async (t) => {
  const before = threadCount();
  const pools = new Pools({ spare: 2 });
  const [one, two] = [probe('one', 1), probe('two', 2, { waitMs: 2 })];
  const out = await runLine({ steps: [one.use, two.use], batches: 30, slabCount: 8, pools });
  t.equal(out.error, undefined);
  t.same(out.arrived, upTo(30));
  t.same([one.counts[Count.opened], two.counts[Count.opened]], [1, 2]);
  t.equal(threadCount(), before + 3, 'three threads, not five');
  await pools.close();
  t.ok((await settledThreads(before)) <= before);
  const unused = new Pools({ spare: 4 });
  await unused.close();
  t.ok((await settledThreads(before)) <= before, 'those that nobody wanted end too');
});

t.test('a thread that died is not given to the next run', async (t) => {
  const pools = new Pools();
  t.teardown(() => pools.close());
  for (const failure of ['throws later', 'exits'] as const) {
    const failing = probe('probe', 2, { failure, at: 3 * BATCH_BYTES, waitMs: 1 });
    const failed = await runLine({ steps: [failing.use], batches: 200, slabCount: 4, pools });
    t.match(failed.error, { code: 'stage-failed' }, failure);
    const sound = probe('probe', 2);
    const out = await runLine({ steps: [sound.use], batches: 40, slabCount: 4, pools });
    t.equal(out.error, undefined, `sound after one ${failure}`);
    t.same(out.arrived, upTo(40));
  }
});

t.test('a stage that may begin here starts no thread for a small job', async (t) => {
  const threads = threadCount();
  const small = probe('small', 8);
  const steps = [{ ...small.use, beginsHere: true }];
  const out = await runLine({ steps, batches: 12, slabCount: 3 });
  t.equal(out.error, undefined);
  t.same(out.arrived, upTo(12));
  t.equal(small.counts[Count.opened], 1);
  t.match(out.reports, [{ stage: 'small', threads: 0, batches: 12, queued: 0 }]);
  t.ok(threadCount() <= threads);
});

t.test('and gets its threads when the job is not small, in order and exactly once', async (t) => {
  const large = probe('large', 2, { busyMs: 6 });
  const steps = [{ ...large.use, beginsHere: true }];
  const out = await runLine({ steps, batches: 60, slabCount: 8 });
  t.equal(out.error, undefined);
  t.same(out.arrived, upTo(60));
  t.equal(large.counts[Count.begun], 60);
  t.equal(large.counts[Count.opened], 3, 'on the main thread and in two others');
  t.match(out.reports, [{ stage: 'large', threads: 2, batches: 60 }]);
});

t.test('and gets none for the little that is left', async (t) => {
  // 17 batches make up the price of two threads, and two more are still to come.
  const ending = probe('ending', 2, { busyMs: 6 });
  const steps = [{ ...ending.use, beginsHere: true }];
  const out = await runLine({ steps, batches: 19, slabCount: 8 });
  t.same([out.error, out.arrived], [undefined, upTo(19)]);
  t.match(out.reports, [{ stage: 'ending', threads: 0, batches: 19 }]);
});

t.test('and gets none while the main thread keeps nobody waiting', async (t) => {
  const patient = probe('patient', 2, { waitMs: 24 });
  const steps = [{ ...patient.use, beginsHere: true }];
  const out = await runLine({ steps, batches: 30, slabCount: 8 });
  t.equal(out.error, undefined);
  t.same(out.arrived, upTo(30));
  t.equal(patient.counts[Count.opened], 1);
  t.match(out.reports, [{ stage: 'patient', threads: 0, batches: 30 }]);
});

t.test('a stage fails on the main thread as it does in its own', async (t) => {
  for (const failure of ['throws', 'throws a word', 'rejects'] as const) {
    const failing = probe('probe', 1, { failure, at: 2 * BATCH_BYTES });
    const steps = [{ ...failing.use, beginsHere: true }];
    const out = await runLine({ steps, batches: 20, slabCount: 3 });
    const details = { stage: 'probe', offset: 2 * BATCH_BYTES, reason: 'it broke' };
    t.match(out.error, { code: 'stage-failed', details }, failure);
    t.notOk(out.arrived.includes(2));
  }
  const closed = probe('probe', 1, { failsToOpen: true });
  const steps = [{ ...closed.use, beginsHere: true }];
  const out = await runLine({ steps, batches: 5, slabCount: 2 });
  t.match(out.error, { code: 'stage-failed', details: { reason: 'it does not open' } });
});
