// The engine when something goes wrong: the error says where, the run ends, and nothing stays behind.

import t from 'tap';
import { fault } from '../../disk/index.js';
import { BATCH_BYTES, module, probe, runLine, settledThreads, threadCount } from './line.js';
import { Count, type Failure } from './stages/probe.js';

/** How long an end may take before it counts as a hang: far more than any machine needs. */
const HANG_MS = 20_000;

/** Fails a run that does not end. */
const within = async <T>(promise: Promise<T>): Promise<T> => {
  const end = new AbortController();
  const hang = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => reject(new Error('the run does not end')), HANG_MS);
    end.signal.addEventListener('abort', () => clearTimeout(timer));
  });
  try {
    return await Promise.race([promise, hang]);
  } finally {
    end.abort();
  }
};

const AT = 7 * BATCH_BYTES;
const BATCHES = 400;

const OUTCOMES: ReadonlyArray<readonly [Failure, Record<string, unknown>]> = [
  ['throws', { code: 'stage-failed', details: { stage: 'probe', offset: AT, reason: 'it broke' } }],
  [
    'throws a word',
    { code: 'stage-failed', details: { stage: 'probe', offset: AT, reason: 'it broke' } },
  ],
  [
    'rejects',
    { code: 'stage-failed', details: { stage: 'probe', offset: AT, reason: 'it broke' } },
  ],
  [
    'throws a fault',
    { code: 'disk-full', details: { stage: 'probe', offset: AT, path: 'somewhere' } },
  ],
];

for (const [failure, expected] of OUTCOMES) {
  t.test(`a stage that ${failure} fails the run, naming itself and the place`, async (t) => {
    const before = probe('before', 2);
    const failing = probe('probe', 2, { failure, at: AT });
    const after = probe('after', 1);
    const steps = [before.use, failing.use, after.use];
    const out = await within(runLine({ steps, batches: BATCHES, slabCount: 6 }));
    t.match(out.error, expected);
    t.notOk(out.arrived.includes(7), 'what failed does not arrive');
    t.ok(out.yielded < BATCHES, 'and the rest is not read');
  });
}

// Where exactly such a stage was is not known: by the time it throws it may be at another batch.
for (const failure of ['throws later', 'rejects later', 'exits', 'exits later'] as const) {
  t.test(`a stage that ${failure} fails the run, and only the run`, async (t) => {
    const failing = probe('probe', 1, { failure, at: AT, waitMs: 2 });
    const out = await within(runLine({ steps: [failing.use], batches: BATCHES, slabCount: 6 }));
    t.match(out.error, { code: 'stage-failed', details: { stage: 'probe' } });
    t.ok(out.yielded < BATCHES);
  });

  t.test(`a stage that ${failure} after its last batch does not end the process`, async (t) => {
    const last = (BATCHES / 40 - 1) * BATCH_BYTES;
    const failing = probe('probe', 1, { failure, at: last });
    await within(runLine({ steps: [failing.use], batches: BATCHES / 40, slabCount: 6 }));
    t.pass('this process is still here');
  });
}

t.test('a stage that does not open, or is not there, fails the run', async (t) => {
  const closed = probe('probe', 2, { failsToOpen: true });
  const first = await within(runLine({ steps: [closed.use], batches: 20, slabCount: 3 }));
  t.match(first.error, { code: 'stage-failed', details: { reason: 'it does not open' } });
  const missing = module('missing', 'no-such-stage', 1);
  const second = await within(runLine({ steps: [missing], batches: 20, slabCount: 3 }));
  t.match(second.error, { code: 'stage-failed', details: { reason: /no-such-stage/ } });
});

t.test('a step on the main thread, the sink and the source can fail a run too', async (t) => {
  const broken = (): never => {
    throw fault('disk-full', { path: 'main' });
  };
  const steps = [probe('probe', 1).use, { name: 'place', main: broken }];
  const atStep = await within(runLine({ steps, batches: 50, slabCount: 3 }));
  t.match(atStep.error, { code: 'disk-full' });
  const plain = { steps: [probe('probe', 2).use], batches: 50, slabCount: 3 };
  const atSink = await within(runLine({ ...plain, sink: broken }));
  t.match(atSink.error, { code: 'disk-full' });
  const atSource = await within(runLine({ ...plain, onLease: (i) => i === 9 && broken() }));
  t.match(atSource.error, { code: 'disk-full' });
});

t.test('every way to end gives the threads back', async (t) => {
  await runLine({ steps: [probe('warm', 2).use], batches: 4, slabCount: 2 });
  const threads = threadCount();
  const failures = ['throws', 'rejects', 'throws later', 'exits'] as const;
  for (const failure of failures) {
    const steps = [probe('a', 3, { waitMs: 3 }).use, probe('b', 3, { failure, at: AT }).use];
    const out = await within(runLine({ steps, batches: BATCHES, slabCount: 8 }));
    t.match(out.error, { code: 'stage-failed' }, failure);
    t.ok((await settledThreads(threads)) <= threads, `no thread stays when it ${failure}`);
  }
});

t.test('cancelling ends every stage soon, and says who did it', async (t) => {
  await runLine({ steps: [probe('warm', 2).use], batches: 4, slabCount: 2 });
  const threads = threadCount();
  const controller = new AbortController();
  const hanging = probe('hangs', 2, { hangs: true });
  const running = runLine({
    steps: [probe('first', 2).use, hanging.use],
    batches: BATCHES,
    slabCount: 8,
    signal: controller.signal,
  });
  while ((hanging.counts[Count.begun] as number) < 2)
    await new Promise((next) => setTimeout(next, 5));
  controller.abort(fault('cancelled', { by: 'SIGINT' }));
  const out = await within(running);
  t.match(out.error, { code: 'cancelled', details: { by: 'SIGINT' } });
  t.same(out.arrived, []);
  t.ok((await settledThreads(threads)) <= threads, 'no thread stays');
});

t.test('a run whose signal is already given does nothing', async (t) => {
  const never = probe('never', 1);
  const signal = AbortSignal.abort();
  const out = await within(runLine({ steps: [never.use], batches: 50, slabCount: 2, signal }));
  t.match(out.error, { code: 'cancelled' });
  t.same(out.arrived, []);
});
