// A saved run, read again. It may have been made by another version, or by hand: what a comparison looks at must be
// there and of the right kind; the rest is taken as it is.

import * as z from 'zod/mini';
import type { Report } from '../run.js';

const laps = z.looseObject({
  name: z.string(),
  milliseconds: z.array(z.number().check(z.positive())).check(z.minLength(1)),
  at: z.optional(z.union([z.number(), z.string()])),
});

const result = z.looseObject({
  level: z.string(),
  title: z.string(),
  laps: z.array(laps),
  limits: z.array(laps),
  ratios: z.array(z.looseObject({ beside: z.string() })),
  axis: z.optional(z.looseObject({ kind: z.enum(['bytes', 'count', 'percent', 'names']) })),
});

const report = z.looseObject({
  version: z.string(),
  commit: z.optional(z.string()),
  date: z.string(),
  machine: z.looseObject({}),
  options: z.record(z.string(), z.union([z.string(), z.number()])),
  images: z.array(z.looseObject({})),
  results: z.array(result),
});

/** The run that a text has, as "--save" writes it; undefined when it has none. */
export const readRun = (text: string): Report | undefined => {
  try {
    return report.safeParse(JSON.parse(text)).data as Report | undefined;
  } catch {
    return undefined;
  }
};
