// What is wrong with a jobs file, in sentences: where, what, and what was probably meant.

import { fault } from '../disk/index.js';
import { nearest } from './nearest.js';
import type { Position, Text, Way } from './places.js';
import { type jobsSchema, keysAt } from './schema.js';

/** Values longer than this are quoted in part. */
const QUOTED = 60;

export interface Mistake {
  readonly position: Position;
  readonly problem: string;
  /** The key that should be there, by its way. */
  readonly missing?: string;
  /** The key that was probably meant. */
  readonly meant?: string;
  /** What to do; left out where the problem says it. */
  readonly advice?: string;
}

/** A value as JSON has it, and what JSON has no word for in one of ours: with aliases, a list can hold itself. */
const wordsFor = (value: unknown): string => {
  if (Number.isNaN(value)) return 'NaN';
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return 'what holds itself';
  }
};

/** A value as a sentence shows it. */
export const quote = (value: unknown): string => {
  const words = wordsFor(value);
  return words.length > QUOTED ? `${words.slice(0, QUOTED)}…` : words;
};

const valueAt = (value: unknown, way: Way): unknown =>
  way.reduce<unknown>(
    (at, segment) => (at === null || at === undefined ? undefined : (at as never)[segment]),
    value,
  );

/** A value by the name that its place in the file gives it. */
const nameOf = (way: Way): string => {
  const last = way.at(-1);
  if (last === undefined) return 'the file';
  return typeof last === 'number' ? `entry ${last + 1} of ${quote(way.at(-2))}` : quote(last);
};

const unknownKey = (text: Text, way: Way, key: string): Mistake => {
  const known = keysAt(way);
  const meant = nearest(key, known);
  const elsewhere = way.length > 0 && keysAt([]).includes(key);
  const all = `The keys here are ${known.join(', ')}.`;
  return {
    ...(meant === undefined ? {} : { meant: [...way, meant].join('/') }),
    position: text.find([...way, key], true),
    problem: `there is no key ${quote(key)} ${way.length === 0 ? 'at the top of the file' : `in ${nameOf(way)}`}`,
    advice: elsewhere
      ? 'It belongs to the top of the file.'
      : meant === undefined
        ? all
        : `Perhaps ${quote(meant)} is meant. ${all}`,
  };
};

type Issue = NonNullable<ReturnType<typeof jobsSchema.safeParse>['error']>['issues'][number];

/** What the schema found, as mistakes of the file. */
export const mistakesOf = (text: Text, issue: Issue): Mistake[] => {
  const way = issue.path;
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => unknownKey(text, way, key));
  const found = valueAt(text.value, way);
  if (found === undefined) {
    const advice = `It must be ${issue.message}.`;
    const missing = way.join('/');
    return [{ missing, position: text.find(way), problem: `${nameOf(way)} is missing`, advice }];
  }
  const number = typeof found === 'number' && !/number|size/.test(issue.message);
  return [
    {
      position: text.find(way),
      problem: `${nameOf(way)} must be ${issue.message}, not ${quote(found)}`,
      ...(number ? { advice: `A number that is meant as text is put in quotes.` } : {}),
    },
  ];
};

/** In the order of the file; what is not there comes after what is. */
const byPosition = (a: Mistake, b: Mistake): number =>
  a.position.line - b.position.line ||
  a.position.column - b.position.column ||
  Number(a.missing !== undefined) - Number(b.missing !== undefined);

/** A key that is there with a slip in it is not missing as well. */
const withoutSlips = (mistakes: readonly Mistake[]): Mistake[] => {
  const meant = new Set(mistakes.flatMap((mistake) => mistake.meant ?? []));
  return mistakes.filter(({ missing }) => missing === undefined || !meant.has(missing));
};

/** Throws the first of the mistakes, if there are any. */
export const judge = (path: string, mistakes: readonly Mistake[]): void => {
  const [first, ...rest] = withoutSlips(mistakes).sort(byPosition);
  if (!first) return;
  const { position, problem, advice } = first;
  const others = rest.map(
    (other) => `${other.position.line}:${other.position.column}: ${other.problem}.`,
  );
  const more =
    others.length === 0
      ? undefined
      : `${others.length} more ${others.length === 1 ? 'mistake follows' : 'mistakes follow'}, the next in line ${rest[0]?.position.line}.`;
  const words = [advice, more].filter((part) => part !== undefined).join(' ');
  throw fault('jobs-invalid', {
    path,
    ...position,
    problem,
    advice: words === '' ? 'Correct it; docs/bulk.md describes the file.' : words,
    others,
  });
};
