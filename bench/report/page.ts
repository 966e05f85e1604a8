// The script of the HTML report: draws every plot with Observable Plot. It runs in a browser, bundled by
// scripts/bundle.ts; the figures come with the page.

import * as Plot from '@observablehq/plot';
import type { Axis, Insight, Span } from '../result.js';
import type { Figure, Mark } from './figures.js';

/** What the page hands over: one entry per result. */
export interface Drawing {
  readonly title: string;
  readonly figure: Figure;
  readonly axis: Axis | undefined;
  readonly insight: Insight | undefined;
  readonly spans: readonly Span[];
}

/** As much of the browser as is used here. */
interface Place {
  readonly textContent: string | null;
  append(child: unknown): void;
}
declare const document: { getElementById(id: string): Place | null };

const WIDTH = 860;
const BAR_HEIGHT = 26;
const KINDS = { ours: 'var(--ours)', peer: 'var(--peer)', limit: 'var(--limit)' } as const;
const SERIES = ['var(--ours)', 'var(--peer)', 'var(--limit)', 'var(--fourth)', 'var(--fifth)'];
const X_LABEL = { labelOffset: 36 } as const;
const MARGIN = { marginBottom: 44 } as const;
const STYLE = { background: 'transparent', color: 'currentColor', fontSize: '13px' } as const;

const words = (mark: Mark, unit: string): string => {
  const figures = (value: number): string => Number(value.toPrecision(3)).toLocaleString('en');
  const rounds = mark.low === mark.high ? '' : ` (${figures(mark.low)} to ${figures(mark.high)})`;
  return `${mark.name}${mark.atWords ? `, ${mark.atWords}` : ''}: ${figures(mark.value)} ${unit}${rounds}`;
};

/** Room for the longest of some names. */
const marginFor = (names: readonly string[]): number =>
  Math.min(260, 24 + 7.2 * Math.max(...names.map((name) => name.length)));

/** One bar for each contender, with a line from its slowest to its fastest round. */
const bars = ({ marks, unit }: Figure) =>
  Plot.plot({
    width: WIDTH,
    height: 64 + BAR_HEIGHT * marks.length,
    marginLeft: marginFor(marks.map(({ name }) => name)),
    style: STYLE,
    ...MARGIN,
    x: {
      ...X_LABEL,
      label: unit === 'ms' ? 'milliseconds (less is better)' : 'GB/s of the image',
      grid: true,
    },
    y: { label: null, domain: marks.map(({ name }) => name) },
    marks: [
      Plot.barX(marks, {
        x: 'value',
        y: 'name',
        fill: (mark: Mark) => KINDS[mark.kind],
        fillOpacity: 0.85,
        title: (mark: Mark) => words(mark, unit),
        tip: true,
      }),
      Plot.ruleY(marks, { x1: 'low', x2: 'high', y: 'name', strokeWidth: 2 }),
      Plot.ruleX([0]),
    ],
  });

/** A line for each series over a numeric axis. */
const curve = ({ marks, unit }: Figure, axis: Axis) => {
  const logarithmic = axis.kind !== 'count';
  return Plot.plot({
    width: WIDTH,
    height: 340,
    marginLeft: 60,
    style: STYLE,
    ...MARGIN,
    x: {
      ...X_LABEL,
      type: logarithmic ? 'log' : 'point',
      label: axis.label,
      tickFormat: (at: number) => marks.find((mark) => mark.at === at)?.atWords ?? '',
      ...(logarithmic ? { ticks: [...new Set(marks.map(({ at }) => at as number))] } : {}),
    },
    y: { label: unit, grid: true, zero: true },
    color: { legend: true, range: SERIES },
    marks: [
      Plot.ruleX(marks, { x: 'at', y1: 'low', y2: 'high', stroke: 'name', strokeOpacity: 0.5 }),
      Plot.lineY(marks, { x: 'at', y: 'value', stroke: 'name', strokeWidth: 2 }),
      Plot.dot(marks, {
        x: 'at',
        y: 'value',
        fill: 'name',
        title: (mark: Mark) => words(mark, unit),
        tip: true,
      }),
      Plot.ruleY([0]),
    ],
  });
};

/** A bar for each name on the axis, a panel for each series. */
const named = ({ marks, unit }: Figure, axis: Axis) => {
  const names = [...new Set(marks.map(({ atWords }) => atWords))];
  return Plot.plot({
    width: WIDTH,
    height: 64 + BAR_HEIGHT * marks.length,
    marginLeft: marginFor(names),
    style: STYLE,
    ...MARGIN,
    x: { ...X_LABEL, label: unit, grid: true },
    y: { label: axis.label, domain: names },
    fy: { label: null },
    marks: [
      Plot.barX(marks, {
        x: 'value',
        y: 'atWords',
        fy: 'name',
        fill: KINDS.ours,
        fillOpacity: 0.85,
        title: (mark: Mark) => words(mark, unit),
        tip: true,
      }),
      Plot.ruleY(marks, { x1: 'low', x2: 'high', y: 'atWords', fy: 'name', strokeWidth: 2 }),
      Plot.ruleX([0]),
    ],
  });
};

const SHARES = ['busy', 'waiting for batches', 'waiting for room', 'handing over'];

/** What the threads of each stage did with their time. */
const shares = ({ stages }: Insight) => {
  const parts = stages.flatMap(({ stage, busyShare, inputShare, outputShare }) => {
    const rest = Math.max(0, 1 - busyShare - inputShare - outputShare);
    return [busyShare, inputShare, outputShare, rest].map((share, i) => ({
      stage,
      share,
      what: SHARES[i] as string,
    }));
  });
  return Plot.plot({
    width: WIDTH,
    height: 74 + BAR_HEIGHT * stages.length,
    marginLeft: 90,
    style: STYLE,
    ...MARGIN,
    x: { ...X_LABEL, label: 'share of the time of its threads', percent: true, domain: [0, 100] },
    y: { label: null, domain: stages.map(({ stage }) => stage) },
    color: { legend: true, domain: SHARES, range: SERIES },
    marks: [
      Plot.barX(parts, {
        x: 'share',
        y: 'stage',
        fill: 'what',
        fillOpacity: 0.85,
        title: ({ stage, share, what }: (typeof parts)[number]) =>
          `${stage}: ${what} for ${Math.round(share * 100)} % of the time`,
        tip: true,
      }),
    ],
  });
};

/** When which stage worked on which batch. */
const timeline = (spans: readonly Span[]) => {
  const stages = [...new Set(spans.map(({ stage }) => stage))];
  return Plot.plot({
    width: WIDTH,
    height: 74 + 44 * stages.length,
    marginLeft: 90,
    style: STYLE,
    ...MARGIN,
    x: { ...X_LABEL, label: 'milliseconds since the take began', grid: true },
    y: { label: null, domain: stages },
    color: { type: 'linear', scheme: 'turbo' },
    marks: [
      Plot.barX(spans, {
        x1: 'from',
        x2: 'to',
        y: 'stage',
        fill: 'offset',
        fillOpacity: 0.7,
        title: ({ stage, offset, from, to }: Span) =>
          `${stage}, image offset ${Math.round(offset / 2 ** 20)} MiB: ${(to - from).toFixed(2)} ms`,
        tip: true,
      }),
    ],
  });
};

const put = (id: string, figure: () => unknown): void =>
  document.getElementById(id)?.append(figure());

const drawings = JSON.parse(document.getElementById('drawings')?.textContent ?? '[]') as Drawing[];
for (const [i, { figure, axis, insight, spans }] of drawings.entries()) {
  put(`plot-${i}`, () =>
    !axis ? bars(figure) : axis.kind === 'names' ? named(figure, axis) : curve(figure, axis),
  );
  if (insight) put(`shares-${i}`, () => shares(insight));
  put(`timeline-${i}`, () => timeline(spans));
}
