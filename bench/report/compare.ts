// Two runs held against each other. A difference counts when noise hardly explains it: every round of one is on the same
// side of every round of the other, and the medians are apart by more than a few percent. Of three rounds each, this
// happens by chance in one of ten comparisons of equals, of five each in one of 126, of three beside five in one of 28.

import { median } from '../measure/median.js';
import type { Laps, Result } from '../result.js';
import type { Report } from '../run.js';
import { atWords, columns, timeWords } from './table.js';

/** Medians that are closer than this are the same, whatever the rounds say. */
const LEAST_DIFFERENCE = 0.05;

/** One figure in both runs. */
export interface Pair {
  readonly case: string;
  readonly what: string;
  /** `time`: milliseconds of ours. `ratio`: how many times as fast as something else we are. */
  readonly kind: 'time' | 'ratio';
  readonly before: number;
  readonly after: number;
  /** How many times as fast it became. */
  readonly speed: number;
  readonly verdict: 'faster' | 'slower' | 'same';
}

/** How many rounds a figure has in either run. */
export interface Rounds {
  readonly before: number;
  readonly after: number;
}

export interface Comparison {
  readonly before: string;
  readonly after: string;
  /** Why times cannot be compared, only ratios; undefined when they can. */
  readonly differs: string | undefined;
  /** Of the figure that looks different most easily by chance; none where there is no pair. */
  readonly rounds: Rounds | undefined;
  readonly pairs: readonly Pair[];
  /** Figures that only one of the runs has. */
  readonly unmatched: number;
}

/** A figure by name, round by round; smaller is better. */
interface Figure {
  readonly case: string;
  readonly what: string;
  readonly kind: Pair['kind'];
  readonly rounds: readonly number[];
}

/** Peers' and limits' own times are no matter of ours. */
const timesOf = (result: Result): Figure[] => {
  const own = result.axis || result.level === 'kernels' ? result.laps : result.laps.slice(0, 1);
  return own.map((laps) => ({
    case: result.title,
    what: [laps.name, atWords(result.axis, laps.at)].filter((word) => word !== '').join(', '),
    kind: 'time',
    rounds: laps.milliseconds,
  }));
};

const ratiosOf = (result: Result): Figure[] => {
  const [ours] = result.laps;
  const others: readonly Laps[] = [...result.laps.slice(1), ...result.limits];
  return result.ratios.flatMap(({ beside }) => {
    const other = others.find(({ name }) => name === beside);
    if (!ours || !other) return [];
    const rounds = ours.milliseconds.map((time, i) => time / (other.milliseconds[i] ?? 0));
    return [{ case: result.title, what: `${ours.name} beside ${beside}`, kind: 'ratio', rounds }];
  });
};

/** What makes times of two runs those of different things, in words. */
const differenceOf = (a: Report, b: Report): string | undefined => {
  const facts = ({ machine, options, images }: Report): Readonly<Record<string, unknown>> => ({
    processor: machine.cpu,
    processors: machine.cores,
    memory: machine.memoryBytes,
    kernel: machine.kernel,
    node: machine.node,
    'file system': machine.fileSystem,
    options: { ...options, rounds: 0 },
    'files of the images': images.map(({ size, corpus }) => [size, corpus]).sort(),
  });
  const [before, after] = [facts(a), facts(b)];
  const names = Object.keys(before).filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  );
  return names.length === 0 ? undefined : names.join(', ');
};

const judge = (before: Figure, after: Figure): Pair => {
  const [was, is] = [median(before.rounds), median(after.rounds)];
  const apart = Math.abs(was - is) / Math.min(was, is) > LEAST_DIFFERENCE;
  const faster = Math.max(...after.rounds) < Math.min(...before.rounds);
  const slower = Math.min(...after.rounds) > Math.max(...before.rounds);
  return {
    case: before.case,
    what: before.what,
    kind: before.kind,
    before: before.kind === 'time' ? was : 1 / was,
    after: before.kind === 'time' ? is : 1 / is,
    speed: was / is,
    verdict: apart && faster ? 'faster' : apart && slower ? 'slower' : 'same',
  };
};

const keyOf = ({ case: title, what, kind }: Figure): string => `${kind}\n${title}\n${what}`;

/** How probable it is that rounds of equals lie apart by chance: both orders, of all there are. */
const chanceOf = ({ before, after }: Rounds): number => {
  let orders = 1;
  for (let i = 1; i <= before; i += 1) orders = (orders * (after + i)) / i;
  return 2 / orders;
};

/** Holds run `b` against run `a`. */
export const compareRuns = (a: Report, b: Report): Comparison => {
  const differs = differenceOf(a, b);
  const figures = ({ results }: Report): Figure[] =>
    results.flatMap((result) => [...(differs ? [] : timesOf(result)), ...ratiosOf(result)]);
  const [before, after] = [figures(a), figures(b)];
  const known = new Map(after.map((figure) => [keyOf(figure), figure]));
  const pairs: Pair[] = [];
  let rounds: Rounds | undefined;
  for (const figure of before) {
    const other = known.get(keyOf(figure));
    if (!other) continue;
    const both = { before: figure.rounds.length, after: other.rounds.length };
    if (!rounds || chanceOf(both) > chanceOf(rounds)) rounds = both;
    pairs.push(judge(figure, other));
  }
  const name = ({ version, commit, date }: Report): string =>
    `${version}${commit ? ` at ${commit}` : ''} of ${date}`;
  return {
    before: name(a),
    after: name(b),
    differs,
    rounds,
    pairs,
    unmatched: before.length + after.length - 2 * pairs.length,
  };
};

const valueWords = (kind: Pair['kind'], value: number): string =>
  kind === 'time' ? timeWords(value) : `${value.toFixed(2)}×`;

const roundWords = ({ before, after }: Rounds): string =>
  before === after ? `${before} rounds` : `${before} rounds before and ${after} after`;

export const describeComparison = (comparison: Comparison): string => {
  const { before, after, differs, rounds, pairs, unmatched } = comparison;
  const changed = pairs.filter(({ verdict }) => verdict !== 'same');
  const rows = changed
    .toSorted((a, b) => b.speed - a.speed)
    .map((pair) => [
      `${pair.verdict}  ${pair.case}: ${pair.what}`,
      valueWords(pair.kind, pair.before),
      valueWords(pair.kind, pair.after),
      `${pair.speed.toFixed(2)}×`,
    ]);
  const same = pairs.length - changed.length;
  return [
    `before  ${before}`,
    `after   ${after}`,
    ...(differs
      ? [`Times are not compared, only ratios of what ran together: these differ: ${differs}.`]
      : []),
    '',
    ...(rows.length > 0 ? columns([['', 'before', 'after', 'as fast'], ...rows]) : []),
    ...(rows.length > 0 ? [''] : []),
    `${changed.length} of ${pairs.length} figures differ beyond noise, ${same} do not` +
      (unmatched > 0 ? `; ${unmatched} are in one run only.` : '.'),
    ...(rounds
      ? [
          `With ${roundWords(rounds)}, one equal figure in ${Math.round(1 / chanceOf(rounds))} looks different by chance.`,
        ]
      : []),
  ].join('\n');
};
