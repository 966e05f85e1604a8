// The small parts: places in line, ticks of the clock, near words.

import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { nextTick } from '../../bulk/clock.js';
import { nearest } from '../../bulk/nearest.js';
import { Slots } from '../../bulk/slots.js';

t.test('no more are at work than there are places, first come, first served', async (t) => {
  const slots = new Slots(2);
  let now = 0;
  let most = 0;
  const order: string[] = [];
  const work =
    (name: string, fails = false) =>
    async (): Promise<void> => {
      now += 1;
      most = Math.max(most, now);
      order.push(name);
      for (let i = 0; i < 3; i += 1) await turn();
      now -= 1;
      if (fails) throw new Error(name);
    };
  const ends = [
    ...['a', 'b', 'c', 'd'].map((name) => slots.run(work(name, name === 'a'))),
    ...['x', 'y'].map((name) => slots.run(work(name), true)),
  ];
  const settled = await Promise.allSettled(ends);
  t.equal(most, 2);
  t.same(order, ['a', 'b', 'x', 'y', 'c', 'd'], 'who may go first goes first');
  t.equal(settled.filter(({ status }) => status === 'rejected').length, 1);
  await slots.run(work('last'));
  t.equal(now, 0, 'a failure gives its place back');
});

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;

t.test('ticks are multiples of the interval, in local time', (t) => {
  const at = (text: string): number => Date.parse(text);
  const tick = (text: string, every: number, offset = 0): string =>
    new Date(nextTick(at(text), every, offset)).toISOString();
  t.equal(tick('2026-11-24T10:07:12Z', 15 * MINUTE), '2026-11-24T10:15:00.000Z');
  t.equal(tick('2026-11-24T10:15:00Z', 15 * MINUTE), '2026-11-24T10:30:00.000Z');
  t.equal(tick('2026-11-24T22:30:00Z', DAY, 60 * MINUTE), '2026-11-24T23:00:00.000Z');
  t.equal(tick('2026-11-24T10:07:12Z', DAY, -300 * MINUTE), '2026-11-25T05:00:00.000Z');
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 4e12 }),
      fc.integer({ min: 1, max: 20 * DAY }),
      (now, every) => {
        const next = nextTick(now, every, 0);
        return next > now && next - now <= every && next % every === 0;
      },
    ),
  );
  t.end();
});

t.test('the nearest word is one that a slip makes', (t) => {
  const words = ['compression', 'clusterSize', 'level', 'store', 'every'];
  t.equal(nearest('compresion', words), 'compression');
  t.equal(nearest('cluster-size', words), 'clusterSize');
  t.equal(nearest('CLUSTERSIZE', words), 'clusterSize');
  t.equal(nearest('stroe', words), 'store');
  t.equal(nearest('leve', words), 'level');
  t.equal(nearest('elephant', words), undefined);
  t.equal(nearest('x'.repeat(100_000), words), undefined);
  t.equal(nearest('a', []), undefined);
  t.end();
});
