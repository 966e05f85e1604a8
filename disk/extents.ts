// An extent is a half-open byte range [start, end). Lists of extents are sorted and disjoint.

export interface Extent {
  /** First byte. */
  readonly start: number;
  /** One past the last byte; greater than start. */
  readonly end: number;
}

/**
 * Widens sorted extents to multiples of `step`, cuts them at `limit` and joins those that touch.
 * Never loses a byte: the result covers the input (up to `limit`).
 */
export function* alignExtents(
  extents: Iterable<Extent>,
  step: number,
  limit: number,
): Generator<Extent> {
  let start = -1;
  let end = -1;
  for (const extent of extents) {
    const from = Math.floor(extent.start / step) * step;
    const to = Math.min(Math.ceil(extent.end / step) * step, limit);
    if (from >= to) continue;
    if (from <= end) {
      end = Math.max(end, to);
      continue;
    }
    if (end > start) yield { start, end };
    start = from;
    end = to;
  }
  if (end > start) yield { start, end };
}

/** What two sorted lists have in common. */
export function* intersectExtents(a: readonly Extent[], b: readonly Extent[]): Generator<Extent> {
  let i = 0;
  let j = 0;
  for (let x = a[i], y = b[j]; x && y; x = a[i], y = b[j]) {
    const start = Math.max(x.start, y.start);
    const end = Math.min(x.end, y.end);
    if (start < end) yield { start, end };
    if (x.end < y.end) i += 1;
    else j += 1;
  }
}

/** What sorted `a` has and sorted `b` has not. */
export function* subtractExtents(a: Iterable<Extent>, b: readonly Extent[]): Generator<Extent> {
  let j = 0;
  for (const { start, end } of a) {
    let at = start;
    while (j < b.length && (b[j] as Extent).end <= at) j += 1;
    for (let k = j; k < b.length && (b[k] as Extent).start < end; k += 1) {
      const hole = b[k] as Extent;
      if (hole.start > at) yield { start: at, end: hole.start };
      at = Math.max(at, hole.end);
    }
    if (at < end) yield { start: at, end };
  }
}

/** What is in either of two sorted lists. */
export function* unionExtents(a: readonly Extent[], b: readonly Extent[]): Generator<Extent> {
  let i = 0;
  let j = 0;
  let open: { start: number; end: number } | undefined;
  for (let x = a[i], y = b[j]; x || y; x = a[i], y = b[j]) {
    const takesA = x !== undefined && (y === undefined || x.start <= y.start);
    const next = (takesA ? x : y) as Extent;
    if (takesA) i += 1;
    else j += 1;
    if (open && next.start <= open.end) open.end = Math.max(open.end, next.end);
    else {
      if (open) yield open;
      open = { ...next };
    }
  }
  if (open) yield open;
}
