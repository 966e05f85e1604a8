// What a plot shows of a result: plain figures, made once for the page and for who wants to look at them.

import { median } from '../measure/median.js';
import type { Laps, Result } from '../result.js';
import { atWords } from './table.js';

/** One contender, or one point of a curve. */
export interface Mark {
  readonly name: string;
  /** Where on the axis: a number, or a word; undefined where there is no axis. */
  readonly at: number | string | undefined;
  readonly atWords: string;
  readonly kind: 'ours' | 'peer' | 'limit';
  /** The median, and the slowest and fastest round. */
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The marks of one result, and their unit: GB/s where there is a rate, else milliseconds. */
export interface Figure {
  readonly unit: 'GB/s' | 'ms';
  readonly marks: readonly Mark[];
}

const valuesOf = ({ milliseconds, work }: Laps, rates: boolean): number[] =>
  milliseconds.map((time) => (rates && work !== undefined ? work / time / 1e6 : time));

export const figureOf = (result: Result): Figure => {
  const { laps, limits, axis } = result;
  const rates = [...laps, ...limits].every(({ work }) => work !== undefined);
  const own = axis ? laps.length : result.case === 'dirty' ? sourcesIn(result) : 1;
  const mark = (one: Laps, kind: Mark['kind']): Mark => {
    const values = valuesOf(one, rates);
    return {
      name: one.name,
      at: one.at,
      atWords: atWords(axis, one.at),
      kind,
      value: median(values),
      low: Math.min(...values),
      high: Math.max(...values),
    };
  };
  return {
    unit: rates ? 'GB/s' : 'ms',
    marks: [
      ...laps.map((one, i) => mark(one, i < own ? 'ours' : 'peer')),
      ...limits.map((one) => mark(one, 'limit')),
    ],
  };
};

/** Each dirty source is ours. */
const sourcesIn = ({ laps }: Result): number =>
  laps.filter(({ name }) => name !== 'qemu-img').length;
