// A stage as people ask for it: MODULE[@before:STAGE|@after:STAGE][,KEY=VALUE…], as in "./mask.js,pattern=secret" or
// "entropy@before:dedup". In the library: use(new URL('./mask.js', import.meta.url), { pattern: 'secret' }).

import { fault } from '../../disk/index.js';
import type { Gap } from '../../pipeline/index.js';

export interface StageRequest {
  /** A path, a file: URL, or the name of a package, with or without its "nvsnap-stage-". */
  readonly module: string;
  /** What its `parse` gets. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Where it is to stand; left out: its usual place. */
  readonly at?: Gap | undefined;
  /** Left out: as many as the stage allows and the machine has processors. */
  readonly threads?: number | undefined;
  /** Absolute path of the folder that relative paths count from; left out: the working directory. */
  readonly folder?: string | undefined;
}

/** Two names of one gap: after a stage is before the next. */
const GAPS: Readonly<Record<string, Gap>> = {
  'after:scan': 'before:dedup',
  'before:dedup': 'before:dedup',
  'after:dedup': 'before:pad',
  'before:pad': 'before:pad',
  'after:pad': 'before:compress',
  'before:compress': 'before:compress',
  'after:compress': 'before:write',
  'before:write': 'before:write',
  'after:write': 'after:write',
};

/** The gaps, in the order in which they come. */
export const GAP_NAMES: readonly Gap[] = [...new Set(Object.values(GAPS))];

/** Asks for a stage. */
export const use = (
  module: string | URL,
  options: Readonly<Record<string, unknown>> = {},
  where: Pick<StageRequest, 'at' | 'threads' | 'folder'> = {},
): StageRequest => ({ module: String(module), options, ...where });

/** The folder that a request's relative paths count from. */
export const folderOf = ({ folder }: StageRequest): string => folder ?? process.cwd();

const refuse = (spec: string, problem: string): never => {
  throw fault('usage', {
    problem: `The stage ${JSON.stringify(spec)} ${problem}.`,
    advice:
      'Write it as MODULE,KEY=VALUE or MODULE@before:dedup; "nvsnap stages" lists what there is.',
  });
};

/** The gap of that name, if it is one. */
export const gapOf = (name: string): Gap | undefined => GAPS[name];

/** Options as people write them, "KEY=VALUE" each; else what is wrong, as the end of a sentence. */
export const optionsIn = (pairs: readonly string[]): Readonly<Record<string, string>> | string => {
  const options: Record<string, string> = {};
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    if (equals < 1) return `has the option ${JSON.stringify(pair)} without a value`;
    options[pair.slice(0, equals)] = pair.slice(equals + 1);
  }
  return options;
};

/** Reads what a person wrote. */
export const parseRequest = (spec: string): StageRequest => {
  const [head = '', ...pairs] = spec.split(',');
  const place = /@((?:before|after):[^@/]*)$/.exec(head);
  const module = place ? head.slice(0, place.index) : head;
  if (module === '') return refuse(spec, 'names no module');
  const at = place?.[1] === undefined ? undefined : gapOf(place[1]);
  if (place && !at) return refuse(spec, `cannot stand ${place[1]}`);
  const options = optionsIn(pairs);
  if (typeof options === 'string') return refuse(spec, options);
  return { module, options, at };
};

/** What was asked for, in either form. */
export const requestOf = (asked: string | StageRequest): StageRequest =>
  typeof asked === 'string' ? parseRequest(asked) : asked;
