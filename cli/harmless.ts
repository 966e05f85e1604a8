// Results as people are shown them. Names in a store come from whoever wrote it, and a terminal obeys what is in
// them: before a sentence is made of a result, its texts are made fit for one.

import { oneLine } from '../disk/index.js';

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};

/** A copy of a result, in which no text and no key can break a line or move a cursor. */
export const harmless = <T>(value: T): T => {
  const copyOf = (part: unknown): unknown => {
    if (typeof part === 'string') return oneLine(part);
    if (typeof part !== 'object' || part === null) return part;
    if (Array.isArray(part)) return part.map(copyOf);
    if (!isPlain(part)) return part;
    return Object.fromEntries(Object.entries(part).map(([key, of]) => [oneLine(key), copyOf(of)]));
  };
  return copyOf(value) as T;
};

/** A text of several lines that can do nothing but break them. */
export const onlyLines = (text: string): string => text.split('\n').map(oneLine).join('\n');
