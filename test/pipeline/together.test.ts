// Several runs at once in the same threads: each keeps what it has alone.

import t from 'tap';
import { Pools, type StageUse } from '../../pipeline/index.js';
import { BATCH_BYTES, module, probe, runLine, settledThreads, threadCount, upTo } from './line.js';
import { Count } from './stages/probe.js';

t.setTimeout(60_000);

t.test('runs at once have the same threads, whatever they ask for', async (t) => {
  const before = threadCount();
  const pools = new Pools({ threads: 2 });
  const probes = [1, 2, 5, 3].map((threads) => probe('probe', threads, { waitMs: 2 }));
  const first = probe('probe', 1);
  await runLine({ steps: [first.use], batches: 10, slabCount: 3, pools });
  const threads = threadCount();
  const outs = await Promise.all(
    probes.map(({ use }, i) =>
      runLine({ steps: [use], batches: 40 + i, slabCount: 3 + i, pools, short: i }),
    ),
  );
  for (const [i, out] of outs.entries()) {
    t.equal(out.error, undefined);
    t.same(out.arrived, upTo(40 + i), 'in order, and exactly once');
    t.match(out.reports, [{ stage: 'probe', threads: 2, batches: 40 + i, queued: 0 }]);
    t.equal(probes[i]?.counts[Count.begun], 40 + i);
    t.ok((probes[i]?.counts[Count.opened] ?? 0) <= 2, 'opened once in each thread');
    t.equal(out.slabs.idle, 3 + i, 'all slabs are back');
  }
  t.equal(threadCount(), threads, 'no thread is started for them');
  await pools.close();
  t.ok((await settledThreads(before)) <= before);
});

t.test('without a fixed number, who comes later has what is there', async (t) => {
  const pools = new Pools();
  t.teardown(() => pools.close());
  const [one, two] = [probe('probe', 1, { waitMs: 3 }), probe('probe', 3, { waitMs: 1 })];
  const outs = await Promise.all([
    runLine({ steps: [one.use], batches: 60, slabCount: 4, pools }),
    runLine({ steps: [two.use], batches: 60, slabCount: 4, pools }),
  ]);
  for (const out of outs) {
    t.equal(out.error, undefined);
    t.same(out.arrived, upTo(60));
    t.match(out.reports, [{ threads: 1 }]);
  }
  const alone = await runLine({ steps: [probe('probe', 3).use], batches: 9, slabCount: 4, pools });
  t.match(alone.reports, [{ threads: 3 }], 'and alone, what it asks for');
});

t.test('another module under the same name does not disturb who is at work', async (t) => {
  const pools = new Pools();
  t.teardown(() => pools.close());
  const slow = probe('probe', 2, { waitMs: 4 });
  const other: StageUse = { ...module('probe', 'drop', 1), options: { keep: 3 } };
  const outs = await Promise.all([
    runLine({ steps: [slow.use], batches: 80, slabCount: 4, pools }),
    runLine({ steps: [other], batches: 9, slabCount: 4, pools }),
  ]);
  t.same(outs[0]?.arrived, upTo(80));
  t.same(outs[1]?.arrived, [0, 3, 6]);
});

t.test('a run that is cancelled, or fails, takes no other with it', async (t) => {
  const before = threadCount();
  const pools = new Pools({ threads: 2 });
  const cancelled = new AbortController();
  const failures = ['throws', 'rejects', 'throws a fault'] as const;
  const sound = [probe('probe', 2, { waitMs: 3 }), probe('probe', 2, { waitMs: 2 })];
  const failing = failures.map((failure, i) =>
    probe('probe', 2, { failure, at: (5 + i) * BATCH_BYTES, waitMs: 1 }),
  );
  const hanging = probe('probe', 2, { hangs: true });
  const line = (use: StageUse) => runLine({ steps: [use], batches: 120, slabCount: 4, pools });
  const stopping = runLine({
    steps: [hanging.use],
    batches: 120,
    slabCount: 4,
    pools,
    signal: cancelled.signal,
    onLease: (i) => i === 3 && setTimeout(() => cancelled.abort(), 30),
  });
  const [stopped, ...outs] = await Promise.all([
    stopping,
    ...failing.map(({ use }) => line(use)),
    ...sound.map(({ use }) => line(use)),
  ]);
  t.match(stopped?.error, { code: 'cancelled' });
  t.match(outs[0]?.error, { code: 'stage-failed', details: { offset: 5 * BATCH_BYTES } });
  t.match(outs[1]?.error, { code: 'stage-failed', details: { offset: 6 * BATCH_BYTES } });
  t.match(outs[2]?.error, { code: 'disk-full' });
  for (const out of outs.slice(3)) {
    t.equal(out.error, undefined);
    t.same(out.arrived, upTo(120));
  }
  const last = await line(probe('probe', 2).use);
  t.equal(last.error, undefined, 'and the threads go on');
  await pools.close();
  t.ok((await settledThreads(before)) <= before);
});

t.test('a small run does not wait for the end of a large one', async (t) => {
  const pools = new Pools({ threads: 2 });
  t.teardown(() => pools.close());
  const large = probe('probe', 2, { busyMs: 2 });
  const small = probe('probe', 2, { busyMs: 2 });
  let done = 0;
  let starts: (() => void) | undefined;
  const begun = new Promise<void>((resolve) => (starts = resolve));
  const long = runLine({
    steps: [large.use],
    batches: 300,
    slabCount: 60,
    pools,
    sink: (_, i) => {
      done = i;
      if (i === 20) starts?.();
    },
  });
  await begun;
  const short = await runLine({ steps: [small.use], batches: 30, slabCount: 6, pools });
  t.same(short.arrived, upTo(30));
  t.ok(done < 200, `by its end ${done} of 300 batches of the large one were through`);
  t.same((await long).arrived, upTo(300));
});

t.test('when a run has ended, no thread keeps its slabs', async (t) => {
  const pools = new Pools({ threads: 2 });
  t.teardown(() => pools.close());
  const keeper = (collects: boolean): { use: StageUse; counts: Int32Array } => {
    const counts = new SharedArrayBuffer(8);
    const use = { ...module('keeper', 'keeper', 2), options: { counts, collects } };
    return { use, counts: new Int32Array(counts) };
  };
  const first = keeper(false);
  await runLine({ steps: [first.use], batches: 40, slabCount: 5, pools });
  const [met = 0] = first.counts;
  t.ok(met >= 5, `${met} batches were met`);
  // The threads collect in a later run, which is still under way.
  for (let tries = 0; tries < 50 && (first.counts[1] ?? 0) < met; tries += 1) {
    await runLine({ steps: [keeper(true).use], batches: 8, slabCount: 4, pools });
  }
  t.equal(first.counts[1], met, 'and all of them are gone');
});
