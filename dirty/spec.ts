// A dirty source as people write it: NAME[:ARGUMENT][,KEY=VALUE…], as in "bitmap:/run/vm/dirty,page=4096".

import { resolve } from 'node:path';
import { fault } from '../disk/index.js';
import type { DirtySource } from './source.js';

/** What was written behind the name. */
export interface SourceSpec {
  readonly name: string;
  readonly argument: string | undefined;
  readonly values: ReadonlyMap<string, string>;
}

/** One kind of dirty source: its name, and how one is made of what is written. */
export interface SourceKind {
  readonly name: string;
  /** As in help: "bitmap:FILE[,page=4096]". */
  readonly usage: string;
  readonly argument: 'needed' | 'optional' | 'none';
  /** True when the argument is a path. */
  readonly namesPath?: boolean;
  readonly keys: readonly string[];
  open(spec: SourceSpec): DirtySource;
}

const refuse = (spec: string, problem: string, kinds: readonly SourceKind[]): never => {
  throw fault('usage', {
    problem: `The dirty source ${JSON.stringify(spec)} ${problem}.`,
    advice: `Choose one of: ${kinds.map(({ usage }) => usage).join('; ')}.`,
  });
};

interface Parts {
  readonly name: string;
  readonly argument: string | undefined;
  readonly pairs: readonly string[];
}

const partsOf = (spec: string): Parts => {
  const [head = '', ...pairs] = spec.split(',');
  const colon = head.indexOf(':');
  if (colon < 0) return { name: head, argument: undefined, pairs };
  return { name: head.slice(0, colon), argument: head.slice(colon + 1), pairs };
};

/** What stands before the colon and the first comma. */
export const nameIn = (spec: string): string => partsOf(spec).name;

/** Opens the source that `spec` names, a relative path from `folder`; a Fault says what is wrong with it. */
export const openSpec = (
  spec: string,
  folder: string | undefined,
  kinds: readonly SourceKind[],
): DirtySource => {
  const { name, argument: given, pairs } = partsOf(spec);
  const kind = kinds.find((each) => each.name === name);
  if (!kind) return refuse(spec, 'is not known', kinds);
  if (given === '' || (given === undefined && kind.argument === 'needed')) {
    return refuse(spec, 'lacks what comes after the colon', kinds);
  }
  if (given !== undefined && kind.argument === 'none') {
    return refuse(spec, 'takes nothing after a colon', kinds);
  }
  const values = new Map<string, string>();
  for (const pair of pairs) {
    const [key = '', ...rest] = pair.split('=');
    const value = rest.join('=');
    if (!kind.keys.includes(key))
      return refuse(spec, `has no option ${JSON.stringify(key)}`, kinds);
    if (value === '') {
      return refuse(spec, `has the option ${JSON.stringify(key)} without a value`, kinds);
    }
    values.set(key, value);
  }
  const isRelative = given !== undefined && kind.namesPath && folder !== undefined;
  const argument = isRelative ? resolve(folder, given) : given;
  return kind.open({ name, argument, values });
};
