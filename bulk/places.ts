// A jobs file as text whose every value knows its line and column. YAML, of which JSON is a part.

import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
} from 'yaml';

/** Where something stands in a file; both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** The way to a value: keys and indices from the top. */
export type Way = readonly PropertyKey[];

/** What is wrong with the text itself. */
export interface SyntaxError {
  readonly position: Position;
  /** Half a sentence. */
  readonly problem: string;
}

export interface Text {
  /** Empty unless the text is no YAML; then there is no value. */
  readonly errors: readonly SyntaxError[];
  readonly value: unknown;
  /** Where the value at the end of a way stands, or as much of the way as there is; `key`: or the last key itself. */
  find(way: Way, key?: boolean): Position;
}

const START: Position = { line: 1, column: 1 };

/** Aliases that stand for aliases multiply: more than this many values is no jobs file. */
const MAX_ALIASES = 1000;

const isKey = (pair: Pair, segment: PropertyKey): boolean =>
  String(isScalar(pair.key) ? pair.key.value : pair.key) === String(segment);

/** One step from a node; undefined when there is nothing. */
const step = (node: Node, segment: PropertyKey): { key?: Node; value?: Node } | undefined => {
  if (isSeq(node)) {
    const value = node.items[Number(segment)];
    return isNode(value) ? { value } : undefined;
  }
  const pair = isMap(node) ? node.items.find((each) => isKey(each, segment)) : undefined;
  if (!pair) return undefined;
  return {
    ...(isNode(pair.key) ? { key: pair.key } : {}),
    ...(isNode(pair.value) ? { value: pair.value } : {}),
  };
};

/** The node at the end of a way, or the last one on it. */
const follow = (document: Document, way: Way, wantsKey: boolean): Node | undefined => {
  let node = document.contents ?? undefined;
  for (const [i, segment] of way.entries()) {
    const here = isAlias(node) ? node.resolve(document) : node;
    const next = here && step(here, segment);
    if (!next) return node;
    node = wantsKey && i === way.length - 1 ? next.key : (next.value ?? next.key);
  }
  return node;
};

/** Nobody writes what the parser's stack does not hold. */
const TOO_DEEP = 'it is nested too deep';

/** The first sentence of what the parser says, as half of ours. */
const problemOf = (message: string): string =>
  /call stack/i.test(message)
    ? TOO_DEEP
    : `this is no YAML: ${message.split('\n')[0]?.replace(/\.$/, '').replace(/\. /g, '; ')}`;

const broken = (position: Position, problem: string): Text => ({
  errors: [{ position, problem }],
  value: undefined,
  find: () => START,
});

/** Reads a text; never throws. */
export const readText = (source: string): Text => {
  const counter = new LineCounter();
  const at = (offset: number): Position => {
    const { line, col } = counter.linePos(offset);
    return line === 0 ? START : { line, column: col };
  };
  try {
    const document = parseDocument(source, {
      lineCounter: counter,
      prettyErrors: false,
      // What there is to say, we say.
      logLevel: 'error',
    });
    const errors = [...document.errors, ...document.warnings].map(({ message, pos }) => ({
      position: at(pos[0]),
      problem: problemOf(message),
    }));
    if (errors.length > 0) return { errors, value: undefined, find: () => START };
    return {
      errors,
      value: document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown,
      find: (way, key = false) => at(follow(document, way, key)?.range?.[0] ?? 0),
    };
  } catch (error) {
    // Too deep for the parser's stack, or aliases without end.
    return broken(START, problemOf(error instanceof Error ? error.message : String(error)));
  }
};
