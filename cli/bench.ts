// nvsnap bench

import fs from 'node:fs';
import {
  type BenchOptions,
  CASES,
  CONTENTS,
  casesOf,
  compareRuns,
  DEFAULTS,
  describe,
  describeComparison,
  LEVELS,
  PATTERNS,
  type Report,
  readRun,
  runBench,
  WITH_OWN_IMAGES,
  writeHtml,
} from '../bench/index.js';
import { fault, ioFault, MiB } from '../disk/index.js';
import type { Screen } from './screen.js';

const MAX_ROUNDS = 1000;
const MAX_SEED = 2 ** 32 - 1;
const MAX_KERNEL_MS = 60_000;

interface Words {
  readonly only?: string;
  readonly list?: boolean;
  readonly size?: number;
  readonly big?: number;
  readonly content?: string;
  readonly change?: string;
  readonly changed?: number;
  readonly image?: string;
  readonly next?: string;
  readonly dir?: string;
  readonly rounds?: number;
  readonly seed?: number;
  readonly cache?: string;
  readonly kernelMs?: number;
  readonly save?: string;
  readonly html?: string;
  readonly compare?: readonly string[];
}

const refuse = (problem: string, advice: string): never => {
  throw fault('usage', { problem, advice });
};

const chosen = <T extends string>(
  option: string,
  word: string | undefined,
  known: readonly T[],
  usual: T,
): T => {
  if (word === undefined) return usual;
  const found = known.find((name) => name === word);
  return (
    found ??
    refuse(
      `--${option} ${JSON.stringify(word)} is not known.`,
      `Choose one of ${known.join(', ')}.`,
    )
  );
};

const within = (option: string, value: number | undefined, most: number, usual: number): number => {
  if (value === undefined) return usual;
  if (value >= 1 && value <= most) return value;
  return refuse(`--${option} must be from 1 to ${most}, not ${value}.`, 'Give such a number.');
};

/** Images are made of pages, and what is smaller shows nothing. */
const sizeFor = (option: string, value: number | undefined, usual: number): number => {
  if (value === undefined || (value >= MiB && value % MiB === 0)) return value ?? usual;
  return refuse(`--${option} must be a multiple of 1M.`, 'Give such a size.');
};

/** Of a user's image, what can be done with it. */
const casesFor = ({ only, image }: Words): BenchOptions['cases'] => {
  const fits = (name: string): boolean => image === undefined || !WITH_OWN_IMAGES.has(name);
  if (only === undefined) return new Set([...DEFAULTS.cases].filter(fits));
  const { cases, unknown } = casesOf(only.split(',').map((word) => word.trim()));
  const wrong = [...cases].filter((name) => !fits(name));
  if (wrong.length > 0 && unknown.length === 0) {
    refuse(
      `${wrong.join(', ')} cannot be measured with an image of yours.`,
      'Leave --image out, or name other cases with --only.',
    );
  }
  if (unknown.length === 0) return cases;
  return refuse(
    `There is no level or case ${unknown.map((word) => JSON.stringify(word)).join(', ')}.`,
    'See "nvsnap bench --list".',
  );
};

const sizeOfFile = (path: string): number => {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (!stat) throw fault('image-missing', { path });
  if (!stat.isFile()) throw fault('image-unsuitable', { path, kind: 'no file' });
  return stat.size;
};

const optionsFor = (words: Words): BenchOptions => {
  const { image, next } = words;
  if (next !== undefined && image === undefined) {
    refuse('--next is the next state of an image.', 'Give --image too.');
  }
  const size = image === undefined ? words.size : undefined;
  const own = image === undefined ? undefined : sizeOfFile(image);
  if (next !== undefined) sizeOfFile(next);
  return {
    program: fs.realpathSync(process.argv[1] ?? ''),
    size: own ?? sizeFor('size', size, DEFAULTS.size),
    big: own ?? sizeFor('big', words.big, DEFAULTS.big),
    content: chosen('content', words.content, CONTENTS, DEFAULTS.content),
    pattern: chosen('change', words.change, PATTERNS, DEFAULTS.pattern),
    changed: words.changed ?? DEFAULTS.changed,
    image,
    next,
    dir: words.dir ?? DEFAULTS.dir,
    rounds: within('rounds', words.rounds, MAX_ROUNDS, DEFAULTS.rounds),
    cases: casesFor(words),
    seed: within('seed', words.seed, MAX_SEED, DEFAULTS.seed),
    cache: chosen('cache', words.cache, ['warm', 'dropped'], DEFAULTS.cache),
    kernelMs: within('kernel-ms', words.kernelMs, MAX_KERNEL_MS, DEFAULTS.kernelMs),
  };
};

const list = (): string =>
  LEVELS.map((level) => `${level.padEnd(9)} ${CASES[level].join(', ')}`).join('\n');

/** Far more than a run says. */
const MAX_REPORT_BYTES = 64 * MiB;

/** The text of a file; undefined when it is no regular file, or too long. Pipes and devices are not waited for. */
const textOf = (path: string): string | undefined => {
  let fd: number | undefined;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const stat = fs.fstatSync(fd);
    return stat.isFile() && stat.size <= MAX_REPORT_BYTES ? fs.readFileSync(fd, 'utf8') : undefined;
  } catch (error) {
    throw ioFault(error, path, 'read');
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
};

const readReport = (path: string): Report => {
  const text = textOf(path);
  const report = text === undefined ? undefined : readRun(text);
  return (
    report ?? refuse(`${path} is not a saved run.`, 'Make one with "nvsnap bench --save FILE".')
  );
};

const compareFiles = (paths: readonly string[], screen: Screen): number => {
  const [a, b, ...more] = paths;
  if (a === undefined || b === undefined || more.length > 0) {
    return refuse('--compare takes two files.', 'Give --compare BEFORE.json AFTER.json.');
  }
  const comparison = compareRuns(readReport(a), readReport(b));
  screen.result(comparison, describeComparison);
  return 0;
};

/** Fails before the work when a file cannot be written after it. */
const checkWritable = (path: string | undefined): void => {
  if (path === undefined) return;
  try {
    fs.closeSync(fs.openSync(path, 'a'));
  } catch (error) {
    throw ioFault(error, path, 'write');
  }
};

export default async (
  _args: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const words = options as Words;
  if (words.list) {
    screen.result(CASES, list);
    return 0;
  }
  if (words.compare) return compareFiles(words.compare, screen);
  const asked = optionsFor(words);
  for (const path of [words.save, words.html]) checkWritable(path);
  const report = await runBench(asked, (sentence) => screen.notice(sentence, { about: 'bench' }));
  if (words.save !== undefined)
    fs.writeFileSync(words.save, `${JSON.stringify(report, null, 1)}\n`);
  if (words.html !== undefined) writeHtml(report, words.html);
  screen.result(report, describe);
  return 0;
};
