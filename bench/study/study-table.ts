// A study's results as text.

import { formatSize } from '../../disk/index.js';
import { median } from '../measure/median.js';
import { columns } from '../report/table.js';
import type { RoundKind } from './evolution.js';
import type { Spent, Study, Taken, Variant } from './study.js';

const KINDS = ['trees', 'small', 'database', 'quiet'] as const;

const seconds = ({ milliseconds, cpuMilliseconds }: Spent): string =>
  `${(milliseconds / 1000).toFixed(2)} (${(cpuMilliseconds / 1000).toFixed(2)})`;

const mean = (list: readonly number[]): number =>
  list.length === 0 ? 0 : list.reduce((sum, one) => sum + one, 0) / list.length;

const medianSpent = (list: readonly Spent[]): Spent => ({
  milliseconds: median(list.map(({ milliseconds }) => milliseconds)),
  cpuMilliseconds: median(list.map(({ cpuMilliseconds }) => cpuMilliseconds)),
});

const meanSize = (list: readonly Taken[], of: (taken: Taken) => number): string =>
  list.length === 0 ? '-' : formatSize(Math.round(mean(list.map(of))));

const ofKind = ({ next }: Variant, kind: RoundKind): string =>
  meanSize(
    next.filter((taken) => taken.kind === kind),
    ({ grownBytes }) => grownBytes,
  );

const HEADINGS = [
  ['clusters', 'dedup', 'first', 'file', 'next', 'restore', 'verify'],
  ['data', 'metadata', 'growth', ...KINDS],
].flat();

const row = (variant: Variant): string[] => {
  const { clusterSize, dedup, first, next } = variant;
  return [
    formatSize(clusterSize),
    dedup,
    seconds(first),
    formatSize(first.grownBytes),
    next.length === 0 ? '-' : seconds(medianSpent(next)),
    seconds(variant.restore),
    seconds(variant.verify),
    meanSize(next, ({ storedBytes }) => storedBytes),
    meanSize(next, ({ metadataBytes }) => metadataBytes),
    meanSize(next, ({ grownBytes }) => grownBytes),
    ...KINDS.map((kind) => ofKind(variant, kind)),
  ];
};

const percent = (part: number, whole: number): string =>
  whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`;

/** The whole study, line by line. */
export const describeStudy = ({ options, method, withSqlite, ...found }: Study): string =>
  [
    `image    ${formatSize(options.size)}, ${options.rounds} rounds by ${method}, seed ${options.seed}, ` +
      `${withSqlite ? 'with SQLite' : 'files only'}`,
    'times    seconds by the clock, in brackets of processors; of the next takes the median',
    'sizes    of the next takes: data and metadata written, growth of the file; means, growth by kind of round too',
    '',
    ...columns([HEADINGS, ...found.variants.map(row)]),
    '',
    'Changed clusters with data, and where their content was before:',
    ...columns([
      [
        'clusters',
        'changed',
        'elsewhere in the parent',
        'only in an older one',
        'twice in the new',
      ],
      ...found.elsewhere.map(({ clusterSize, changed, inParent, inOlder, twice }) => [
        formatSize(clusterSize),
        `${changed}`,
        percent(inParent, changed),
        percent(inOlder, changed),
        percent(twice, changed),
      ]),
    ]),
  ].join('\n');
