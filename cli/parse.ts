// Options as people write them.

import { fault, MiB, parseSize } from '../disk/index.js';

/** A size in bytes, for one option. */
export const parseSizeOption =
  (option: string) =>
  (text: string): number => {
    const size = parseSize(text);
    if (size !== undefined) return size;
    throw fault('usage', {
      problem: `${option} ${JSON.stringify(text)} is not a size.`,
      advice: 'Write it as 4096, 64K, 1.5M or 256G.',
    });
  };

/** A memory size: below 1 MiB nobody means it. */
export const parseMemory = (text: string): number => {
  const size = parseSizeOption('--memory')(text);
  if (size >= MiB) return size;
  throw fault('usage', {
    problem: `--memory ${JSON.stringify(text)} is too little.`,
    advice: 'Give at least 1M; the default is 192M.',
  });
};

const percentOption =
  (orNone: boolean) =>
  (text: string): number => {
    const percent = Number(text);
    const isShare = /^\d+(\.\d+)?$/.test(text) && percent <= 100;
    if (isShare && (percent > 0 || orNone)) return percent;
    throw fault('usage', {
      problem: `${JSON.stringify(text)} is not a share in percent.`,
      advice: orNone ? 'Give 0 (for none) to 100.' : 'Give more than 0 and at most 100.',
    });
  };

/** A share in percent, as 5 or 0.5. */
export const parsePercent = percentOption(false);

/** A share in percent, which may be 0. */
export const parsePercentOrNone = percentOption(true);

export const parseNumber =
  (option: string) =>
  (text: string): number => {
    if (/^-?\d+$/.test(text)) return Number(text);
    throw fault('usage', {
      problem: `${option} ${JSON.stringify(text)} is not a whole number.`,
      advice: 'Give a number.',
    });
  };

/** "4" for every stage, or "scan=1,compress=4". */
export const parseThreads = (text: string): number | Record<string, number> => {
  const threads = parseNumber('--threads');
  if (!text.includes('=')) return threads(text);
  return Object.fromEntries(
    text.split(',').map((part) => {
      const [stage = '', count = ''] = part.split('=');
      return [stage, threads(count)];
    }),
  );
};

/** A range of bytes as START:LENGTH, each a size. */
export const parseRange = (text: string): { start: number; length: number } => {
  const [start, length, ...rest] = text.split(':').map(parseSize);
  if (start !== undefined && length !== undefined && length > 0 && rest.length === 0) {
    return { start, length };
  }
  throw fault('usage', {
    problem: `--range ${JSON.stringify(text)} is not a range.`,
    advice: 'Write it as START:LENGTH, as in 4096:64K or 1G:256M.',
  });
};

const SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600 };

/** A time as 90, 90s, 10m or 1.5h; in seconds. */
export const parseSeconds =
  (option: string) =>
  (text: string): number => {
    const match = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(text.trim());
    const seconds = match ? Number(match[1]) * (SECONDS[match[2] ?? ''] ?? 1) : 0;
    if (seconds > 0) return seconds;
    throw fault('usage', {
      problem: `${option} ${JSON.stringify(text)} is not a time.`,
      advice: 'Write it as 90s, 10m or 1.5h.',
    });
  };
