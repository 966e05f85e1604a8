// How contenders and limits run: in turn, in the same rounds.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Job } from '../../bench/job.js';
import { copyLimit, readLimit, writeLimit } from '../../bench/measure/limits.js';
import { type Contender, type Runner, race } from '../../bench/measure/race.js';
import { Scratch } from '../../bench/measure/scratch.js';
import { DEFAULTS } from '../../bench/options.js';
import { resultOf } from '../../bench/result.js';
import { tempDir } from '../tools/files.js';

/** A contender that runs nothing, and says when it is its turn. */
const saying = (name: string, said: string[], then?: (round: number) => void): Contender => ({
  name,
  prepare: (round) => {
    said.push(`${round} ${name}`);
    then?.(round);
  },
  commands: () => [],
});

const jobIn = (scratch: Scratch): Job => ({
  scratch,
  options: { ...DEFAULTS, program: '' },
  has: () => false,
  subject: () => Promise.reject(new Error('there is none')),
  say: () => {},
});

const scratchFor = (t: Parameters<typeof tempDir>[0]): Scratch => {
  const scratch = new Scratch(tempDir(t));
  t.teardown(() => scratch.remove());
  return scratch;
};

t.test('limits run in the rounds of the contenders, every other one in reverse', async (t) => {
  const said: string[] = [];
  const limit: Runner = {
    name: 'limit',
    work: 7,
    run: async (round) => {
      said.push(`${round} limit`);
      return round;
    },
  };
  const { laps, limits } = await race(scratchFor(t), [saying('ours', said), saying('peer', said)], {
    rounds: 3,
    work: 5,
    limits: [limit],
    beforeRound: (round) => {
      said.push(`${round} begins`);
    },
  });
  t.same(said, [
    ...['1 begins', '1 ours', '1 peer', '1 limit'],
    ...['2 begins', '2 limit', '2 peer', '2 ours'],
    ...['3 begins', '3 ours', '3 peer', '3 limit'],
  ]);
  t.same(
    laps.map(({ name, work, milliseconds }) => [name, work, milliseconds.length]),
    [
      ['ours', 5, 3],
      ['peer', 5, 3],
    ],
  );
  t.same(limits, [{ name: 'limit', work: 7, milliseconds: [1, 2, 3], made: undefined }]);
  const ours = { name: 'ours', milliseconds: [2, 1, 2], work: undefined, made: undefined };
  const where = { level: 'commands', case: 'first' } as const;
  const { ratios } = resultOf(where, { title: '', laps: [ours], limits, verified: [], digest: '' });
  t.match(ratios, [{ beside: 'limit', speed: 1.5, lowest: 0.5, highest: 2 }], 'round by round');
});

t.test('a limit writes as much as ours has made, and leaves nothing to the next', async (t) => {
  const scratch = scratchFor(t);
  const job = jobIn(scratch);
  const store = scratch.path('store');
  const said: string[] = [];
  const sizes: number[] = [];
  const ours = saying('ours', said, (round) => fs.writeFileSync(store, Buffer.alloc(1000 * round)));
  const next = saying('next', said, () => t.same(fs.readdirSync(scratch.folder), ['store']));
  const limit = writeLimit(job, () => {
    const { size } = fs.statSync(store);
    sizes.push(size);
    return size;
  });
  const { limits } = await race(scratch, [ours, next], { rounds: 3, work: 1, limits: [limit] });
  t.same(sizes, [1000, 1000, 3000], 'in the first round too, and in reverse that of the last');
  t.equal(limits[0]?.milliseconds.length, 3);
  t.same(fs.readdirSync(scratch.folder), ['store']);
});

t.test('a limit reads the state that a round has', async (t) => {
  const scratch = scratchFor(t);
  const job = jobIn(scratch);
  const states = [0, 1].map((i) => join(scratch.folder, `state-${i}`));
  for (const [i, state] of states.entries()) fs.writeFileSync(state, Buffer.alloc(4096 + i));
  let at = 0;
  const { limits } = await race(scratch, [saying('ours', [])], {
    rounds: 2,
    work: 1,
    limits: [readLimit(job, () => states[at] as string), copyLimit(4096)],
    beforeRound: (round) => {
      // The other one is not there: who reads it fails.
      at = round % 2;
      fs.renameSync(states[1 - at] as string, `${states[1 - at]}-away`);
      if (round > 1) fs.renameSync(`${states[at]}-away`, states[at] as string);
    },
  });
  t.same(
    limits.map(({ name, work, milliseconds }) => [name, work, milliseconds.length]),
    [
      ['limit: read', 4096, 2],
      ['limit: copy in memory', 4096, 2],
    ],
  );
});
