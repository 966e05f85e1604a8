// What is said of figures: goals, bottlenecks, and what became faster or slower.

import t from 'tap';
import { compareRuns, describe, describeComparison, type Report } from '../../bench/index.js';
import { figureOf } from '../../bench/report/figures.js';
import { bottleneck } from '../../bench/report/words.js';
import { type Laps, type Result, resultOf } from '../../bench/result.js';
import type { StageReport } from '../../pipeline/index.js';

const laps = (name: string, milliseconds: readonly number[], more: Partial<Laps> = {}): Laps => ({
  name,
  milliseconds,
  work: 1e9,
  made: undefined,
  ...more,
});

const resultWith = (ours: readonly number[], peer: readonly number[]): Result =>
  resultOf(
    { level: 'commands', case: 'first' },
    {
      title: 'a race',
      laps: [laps('nvsnap', ours, { made: 110 }), laps('peer', peer, { made: 100 })],
      limits: [
        laps(
          'limit: read',
          ours.map(() => 50),
        ),
      ],
      verified: ['nvsnap', 'peer'],
      digest: 'd',
    },
    [
      { beside: 'peer', ratio: 2, bytes: 1.05 },
      { beside: 'limit: read', ratio: 0.4 },
    ],
  );

const reportWith = (results: readonly Result[], cpu = 'a processor'): Report => ({
  version: '1',
  commit: 'abc',
  date: '2026-01-01T00:00:00.000Z',
  machine: {
    cpu,
    cores: 2,
    memoryBytes: 1,
    kernel: 'k',
    node: 'n',
    dir: '/',
    fileSystem: 'tmpfs',
    load: 0,
  },
  peers: [{ name: 'peer', version: undefined }],
  options: { rounds: 3 },
  images: [],
  results,
});

t.test('ratios are those within the rounds, and goals are judged', async (t) => {
  const [peer, limit] = resultWith([100, 200, 100], [300, 400, 500]).ratios;
  t.match(peer, { beside: 'peer', speed: 3, lowest: 2, highest: 5, bytes: 1.1 });
  t.match(limit, { beside: 'limit: read', speed: 0.5, goal: 0.4 });
  const words = describe(reportWith([resultWith([100, 200, 100], [300, 400, 500])]));
  t.match(words, /^ {2}peer .* 3\.00× .*≥ 2×, size ≤ 1\.05 NO .*1\.100×$/m, 'it is too large');
  t.match(words, /^ {2}limit: read .* ≥ 0\.4× yes$/m);
  t.match(words, /^peer {6}not installed$/m);
  t.match(words, /verified: nvsnap, peer; digest d$/m);
});

t.test('a difference counts when the rounds lie apart, and by more than a little', async (t) => {
  const before = reportWith([resultWith([100, 104, 108], [300, 300, 300])]);
  const verdictOf = (ours: readonly number[]) =>
    compareRuns(before, reportWith([resultWith(ours, [300, 300, 300])])).pairs[0];
  t.match(verdictOf([80, 82, 99]), { kind: 'time', verdict: 'faster', before: 104, after: 82 });
  t.match(verdictOf([120, 109, 130]), { verdict: 'slower' });
  t.match(verdictOf([80, 82, 101]), { verdict: 'same' }, 'one round is within the others');
  t.match(verdictOf([99.5, 99.4, 99.6]), { verdict: 'same' }, 'less than 5 %');
});

t.test('runs of two machines are compared by their ratios alone', async (t) => {
  const before = reportWith([resultWith([100, 100, 100], [300, 300, 300])]);
  const slower = reportWith([resultWith([400, 400, 400], [600, 600, 600])], 'another');
  const comparison = compareRuns(before, slower);
  t.equal(comparison.differs, 'processor');
  t.same(
    comparison.pairs.map(({ kind }) => kind),
    ['ratio', 'ratio'],
  );
  t.match(comparison.pairs[0], { verdict: 'slower', before: 3, after: 1.5 });
  const words = describeComparison(comparison);
  t.match(words, /only ratios .*: processor\./);
  t.match(words, /^slower {2}a race: nvsnap beside peer +3\.00× +1\.50× +0\.50×$/m);
  t.match(words, /one equal figure in 10 looks different by chance/);
});

t.test('runs of unequal rounds are compared, and what that says is said of both', async (t) => {
  const before = reportWith([resultWith([100, 104, 108], [300, 300, 300])]);
  const five = [80, 81, 82, 83, 84];
  const after = reportWith([resultWith(five, [300, 300, 300, 300, 300])]);
  for (const [a, b, verdict, words] of [
    [before, after, 'faster', /^With 3 rounds before and 5 after, one equal figure in 28 /m],
    [after, before, 'slower', /^With 5 rounds before and 3 after, one equal figure in 28 /m],
    [after, after, 'same', /^With 5 rounds, one equal figure in 126 /m],
  ] as const) {
    const comparison = compareRuns(a, b);
    t.equal(comparison.differs, undefined, 'they are of the same things');
    t.match(comparison.pairs[0], { kind: 'time', verdict });
    t.ok(comparison.pairs.every(({ speed }) => Number.isFinite(speed)));
    t.match(describeComparison(comparison), words);
  }
});

t.test('of runs that have nothing in common nothing is said', async (t) => {
  const other = { ...resultWith([1], [1]), title: 'another race' };
  const comparison = compareRuns(reportWith([resultWith([1], [1])]), reportWith([other]));
  t.same([comparison.pairs.length, comparison.unmatched, comparison.rounds], [0, 6, undefined]);
  t.match(describeComparison(comparison), /0 of 0 figures .* 6 are in one run only/);
});

const stage = (name: string, busy: number, input: number, output: number): StageReport => ({
  stage: name,
  threads: 1,
  batches: 10,
  bytes: 1,
  busyMs: busy * 1000,
  busyShare: busy,
  inputShare: input,
  outputShare: output,
  queued: 0,
});

t.test('what limits is said in words', async (t) => {
  const limited = [
    stage('scan', 0.2, 0, 0.7),
    stage('compress', 0.9, 0, 0.05),
    stage('write', 0.1, 0.8, 0),
  ];
  t.equal(
    bottleneck(1000, limited),
    'compress limits: its thread busy for 90 % of the time. ' +
      'Others waited: for room behind it scan (70 %); for batches write (80 %).',
  );
  t.match(bottleneck(4000, limited), /^Only 25 % of the time went by in the stages: /);
  t.match(
    bottleneck(1000, [stage('scan', 0.5, 0.2, 0.1), stage('write', 0.1, 0.2, 0)]),
    /^No stage limits alone\. The busiest is scan: .* 20 % starting threads and handing over\.$/,
  );
  t.equal(bottleneck(1000, []), 'No stage had anything to do.');
});

t.test('a figure has rates where all have one, else times', async (t) => {
  const rates = figureOf(resultWith([500, 1000, 2000], [100, 100, 100]));
  t.equal(rates.unit, 'GB/s');
  t.match(rates.marks[0], { kind: 'ours', value: 1, low: 0.5, high: 2 });
  t.same(
    rates.marks.map(({ kind }) => kind),
    ['ours', 'peer', 'limit'],
  );
  const timed = resultOf(
    { level: 'commands', case: 'start' },
    { title: '', laps: [laps('a', [3], { work: undefined })], verified: [], digest: '' },
  );
  t.match(figureOf(timed), { unit: 'ms', marks: [{ value: 3 }] });
});
