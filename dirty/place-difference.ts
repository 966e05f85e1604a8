// Where two files that share blocks may differ, told by where their blocks lie.
//
// As long as both exist no shared block is written to: whoever writes to the one or the other gets a new block. So what
// lies in the same place in both is the same. What lies elsewhere may be; it is named.

import type { Extent, PlacedExtent } from '../disk/index.js';

/** Both are there, and in the same place. A block that is in two files is shared: where that is not said, we doubt. */
const isSame = (a: PlacedExtent, b: PlacedExtent): boolean =>
  a.kind === 'written' &&
  b.kind === 'written' &&
  a.shared &&
  b.shared &&
  a.physical - a.start === b.physical - b.start;

/** The next extent that does not read as zeros. */
const nextData = (extents: Iterator<PlacedExtent>): PlacedExtent | undefined => {
  for (;;) {
    const { done, value } = extents.next();
    if (done) return undefined;
    if (value.kind !== 'unwritten') return value;
  }
};

/** How far the answer to "is position `at` inside `extent`" stays what it is. */
const horizon = (extent: PlacedExtent | undefined, at: number): number => {
  if (!extent) return Number.POSITIVE_INFINITY;
  return extent.start > at ? extent.start : extent.end;
};

/** The ranges in which two files may differ, sorted and disjoint; from the places of both in ascending order. */
export function* placeDifference(
  before: Iterable<PlacedExtent>,
  after: Iterable<PlacedExtent>,
): Generator<Extent> {
  const [olds, news] = [before[Symbol.iterator](), after[Symbol.iterator]()];
  let x = nextData(olds);
  let y = nextData(news);
  let at = 0;
  let open: { start: number; end: number } | undefined;
  while (x || y) {
    const inX = x !== undefined && x.start <= at;
    const inY = y !== undefined && y.start <= at;
    const end = Math.min(horizon(x, at), horizon(y, at));
    const differs = inX !== inY || (x && y && inX && inY && !isSame(x, y));
    if (differs && open?.end === at) open.end = end;
    else if (differs) {
      if (open) yield open;
      open = { start: at, end };
    }
    at = end;
    if (x && x.end <= at) x = nextData(olds);
    if (y && y.end <= at) y = nextData(news);
  }
  if (open) yield open;
}
