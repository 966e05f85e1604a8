// examples/throttle.js: it keeps each batch as long as arithmetic says, and no longer when the take is cancelled.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Batch, Stage } from '../../pipeline/index.js';
import { restore, take } from '../../snapshot/index.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { abortWhen, CLUSTER, example, exampleUrl, SMALL_MEMORY } from './images.js';

t.setTimeout(240_000);

const MiB = 2 ** 20;

/** A clock that stands still but while somebody waits for it; says for how long they did. */
const stoppedClock = (t: Test): { readonly waits: number[]; pass(ms: number): void } => {
  const real = { now: performance.now, setTimeout: globalThis.setTimeout };
  const waits: number[] = [];
  let now = 1000;
  performance.now = () => now;
  globalThis.setTimeout = ((done: () => void, ms: number) => {
    waits.push(ms);
    now += ms;
    queueMicrotask(done);
  }) as unknown as typeof setTimeout;
  t.teardown(() => {
    performance.now = real.now;
    globalThis.setTimeout = real.setTimeout;
  });
  return {
    waits,
    pass(ms) {
      now += ms;
    },
  };
};

/** A batch of so many bytes, as far as the stage looks at it. */
const batchOf = (bytes: number): Batch =>
  ({
    count: bytes / CLUSTER,
    nextLive: (from: number) => from,
    lengthOf: () => CLUSTER,
  }) as unknown as Batch;

t.test('each batch is kept until its time has come', async (t) => {
  const { default: throttle } = (await import(exampleUrl('throttle').href)) as {
    default: Stage<{ rate: number }>;
  };
  let cancelled = false;
  const desk = { clusterSize: CLUSTER, cancelled: () => cancelled };
  const thread = await throttle.open({ rate: MiB }, desk);
  const { waits, pass } = stoppedClock(t);
  const waited = (): number => waits.splice(0).reduce((sum, ms) => sum + ms, 0);
  await thread.batch?.(batchOf(MiB));
  t.ok(waits.length >= 10, 'in slices');
  t.equal(waited(), 1000, 'a second for a MiB at 1 MiB a second');
  await thread.batch?.(batchOf(MiB / 2));
  t.equal(waited(), 500);
  pass(5000);
  await thread.batch?.(batchOf(MiB));
  t.equal(waited(), 1000, 'a pause is not made up for');
  cancelled = true;
  await thread.batch?.(batchOf(MiB));
  t.equal(waited(), 0);
  t.match(await thread.flush?.(), { bytes: 3.5 * MiB, waitedMs: 2500 });
});

/** A take of an image of 2 MiB of noise. */
const openTrial = (t: Test) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  fs.writeFileSync(image, new Random(2).bytes(2 * MiB));
  return { folder, image, store, memory: SMALL_MEMORY, clusterSize: CLUSTER };
};

t.test('all of a take goes through one thread, and comes back', async (t) => {
  const { folder, ...asked } = openTrial(t);
  const { image, store } = asked;
  const stages = [example('throttle', { rate: '16m' }, { threads: 4 })];
  const first = await take({ ...asked, tag: 'first', stages });
  t.match(first.summaries, [{ stage: 'throttle', figures: { bytes: 2 * MiB } }]);
  t.match(first.stages, { length: 6 });
  t.match(
    first.stages.find(({ stage }) => stage === 'throttle'),
    { threads: 1, batches: 2 },
  );
  patch(image, Buffer.from('x'), 5 * CLUSTER);
  const changes = [example('throttle', { rate: '1G' }, { at: 'before:compress' })];
  const second = await take({ ...asked, tag: 'second', stages: changes });
  t.match(second.summaries, [{ figures: { bytes: CLUSTER } }], 'of what has changed alone');
  await restore({ store, snapshot: 'second', output: join(folder, 'output') });
  t.ok(sameFile(image, join(folder, 'output')));
});

t.test('a cancelled take does not wait for it', async (t) => {
  const { folder, ...asked } = openTrial(t);
  const to = join(folder, 'to');
  // All that tee has copied is with the throttle, or waits for it: for half an hour at this rate.
  const stages = [
    example('tee', { to }),
    example('throttle', { rate: 1024 }, { at: 'before:compress' }),
  ];
  const signal = abortWhen(t, () => fs.existsSync(to) && fs.statSync(to).size === 2 * MiB);
  await t.rejects(take({ ...asked, stages, signal }), { code: 'cancelled' });
  t.notOk(fs.existsSync(asked.store));
});

t.test('a rate that is none is refused', async (t) => {
  const { folder: _, ...asked } = openTrial(t);
  for (const rate of [undefined, '', '5', '1023', 'fast', '-5M', '1.5M', '5T', '5M/s']) {
    const options = rate === undefined ? {} : { rate };
    const refused = take({ ...asked, stages: [example('throttle', options)] });
    await t.rejects(refused, { code: 'usage', details: { problem: /needs rate=BYTES/ } });
  }
});
