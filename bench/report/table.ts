// The results as text.

import { formatSize } from '../../disk/index.js';
import { median } from '../measure/median.js';
import type { Axis, Laps, Ratio, Result } from '../result.js';
import type { Report } from '../run.js';
import type { ImageFacts } from '../workload/image.js';

/** Rows of words as columns; the first is aligned left, the others right. */
export const columns = (rows: readonly (readonly string[])[]): string[] => {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((word, i) => (i === 0 ? word.padEnd(widths[i] ?? 0) : word.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
};

/** A time with as many figures as a person can use. */
export const timeWords = (milliseconds: number): string => {
  if (milliseconds >= 100) return `${(milliseconds / 1000).toFixed(3)} s`;
  if (milliseconds >= 0.1) return `${milliseconds.toFixed(2)} ms`;
  return `${(milliseconds * 1000).toFixed(2)} µs`;
};

/** Bytes per second of the median time. */
export const rateOf = ({ work, milliseconds }: Laps): number | undefined =>
  work === undefined ? undefined : (work / median(milliseconds)) * 1000;

const rateWords = (laps: Laps): string => {
  const rate = rateOf(laps);
  return rate === undefined ? '' : `${(rate / 1e9).toFixed(2)} GB/s`;
};

/** How far apart the rounds are: half of the distance between the lowest and the highest, in percent of the median. */
const spreadWords = ({ milliseconds }: Laps): string => {
  if (milliseconds.length < 2) return '';
  const distance = Math.max(...milliseconds) - Math.min(...milliseconds);
  return `±${((distance / 2 / median(milliseconds)) * 100).toFixed(0)} %`;
};

export const atWords = (axis: Axis | undefined, at: number | string | undefined): string => {
  if (at === undefined) return '';
  if (typeof at === 'string' || !axis) return `${at}`;
  return axis.kind === 'bytes' ? formatSize(at) : axis.kind === 'percent' ? `${at} %` : `${at}`;
};

/** True when a goal is reached, undefined where there is none. */
export const isReached = ({ speed, goal, bytes, bytesGoal }: Ratio): boolean | undefined => {
  if (goal === undefined) return undefined;
  return speed >= goal && (bytes === undefined || bytesGoal === undefined || bytes <= bytesGoal);
};

const goalWords = (ratio: Ratio): string => {
  const reached = isReached(ratio);
  if (ratio.goal === undefined || reached === undefined) return '';
  const bytes = ratio.bytesGoal === undefined ? '' : `, size ≤ ${ratio.bytesGoal}`;
  return `≥ ${Number(ratio.goal.toFixed(3))}×${bytes} ${reached ? 'yes' : 'NO'}`;
};

const lapRow = (laps: Laps, { axis }: Result, ratio: Ratio | undefined): string[] => [
  `  ${[laps.name, atWords(axis, laps.at)].filter((word) => word !== '').join(', ')}`,
  timeWords(median(laps.milliseconds)),
  spreadWords(laps),
  rateWords(laps),
  laps.made === undefined ? '' : formatSize(laps.made),
  ratio ? `${ratio.speed.toFixed(2)}×` : '',
  ratio ? `${ratio.lowest.toFixed(2)}–${ratio.highest.toFixed(2)}` : '',
  ratio ? goalWords(ratio) : '',
  ratio?.bytes === undefined ? '' : `${ratio.bytes.toFixed(3)}×`,
];

const HEADINGS = ['', 'time', 'spread', 'rate', 'size', 'we are', 'rounds', 'goal', 'our size'];

/** The rows of a result, with their headings; columns without any word are left out. */
export const rowsOf = (result: Result): string[][] => {
  const rows = [...result.laps, ...result.limits].map((laps) =>
    lapRow(
      laps,
      result,
      result.ratios.find(({ beside }) => beside === laps.name),
    ),
  );
  const used = HEADINGS.map((_, i) => rows.some((row) => row[i] !== ''));
  return [HEADINGS, ...rows].map((row) => row.filter((_, i) => used[i]));
};

/** Figures of more contenders are named by their number. */
const MOST_NAMES = 12;

const verifiedWords = ({ verified, digest }: Result): string => {
  const names = verified.length > MOST_NAMES ? `all ${verified.length}` : verified.join(', ');
  return `  verified: ${names}; digest ${digest}`;
};

const describeResult = (result: Result): string[] => {
  const measured = result.laps.length > 0;
  return [
    '',
    `${result.case}: ${result.title}`,
    ...(measured ? columns(rowsOf(result)) : []),
    ...(result.insight ? [`  ${result.insight.words}`] : []),
    ...result.missing.map((why) => `  ${why}`),
    ...(measured ? [verifiedWords(result)] : []),
  ];
};

/** What an image is made of, in one line. */
export const imageWords = ({ size, content, parts, seed, corpus }: ImageFacts): string => {
  const shares = Object.entries(parts)
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${((bytes / size) * 100).toFixed(0)} % ${name}`);
  return `${formatSize(size)} ${content}: ${shares.join(', ')}; seed ${seed}, files ${corpus}`;
};

/** What the figures are of, as names and words. */
export const facts = (report: Report): (readonly [name: string, words: string])[] => {
  const { version, commit, date, machine, peers, options, images } = report;
  const { cpu, cores, memoryBytes, kernel, node, load, dir, fileSystem } = machine;
  return [
    ['nvsnap', `${version}${commit ? ` at ${commit}` : ''}, node ${node}`],
    ['date', date],
    ...peers.map(({ name, version }) => [name, version ?? 'not installed'] as const),
    [
      'machine',
      `${cpu}, ${cores} cores, ${formatSize(memoryBytes)}, Linux ${kernel}, load ${load.toFixed(2)}`,
    ],
    ['files', `in ${dir} on ${fileSystem}`],
    ...images.map((image) => ['image', imageWords(image)] as const),
    ...['image', 'next'].flatMap((name) =>
      options[name] === undefined ? [] : [[name, `${options[name]}`] as const],
    ),
    [
      'method',
      `page cache ${options.cache}, ${options.rounds} rounds in turn, medians; ${options.changed} % changed (${options.pattern})`,
    ],
  ];
};

/** The whole report, line by line. */
export const describe = (report: Report): string =>
  [
    ...facts(report).map(([name, words]) => `${name.padEnd(9)} ${words}`),
    ...report.results.flatMap(describeResult),
  ].join('\n');
