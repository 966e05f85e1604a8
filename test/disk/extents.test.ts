// Extents against the plainest model there is: one boolean per byte.

import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import {
  alignExtents,
  type Extent,
  intersectExtents,
  subtractExtents,
  unionExtents,
} from '../../disk/extents.js';

const SIZE = 96;

/** The bytes that extents cover; throws when the list is not sorted, disjoint and without empties. */
const bitmapOf = (extents: Iterable<Extent>): boolean[] => {
  const bits = new Array<boolean>(SIZE).fill(false);
  let last = 0;
  for (const { start, end } of extents) {
    if (start < last || end <= start || end > SIZE)
      throw new Error(`[${start}, ${end}) after ${last}`);
    bits.fill(true, start, end);
    last = end;
  }
  return bits;
};

const extentsOf = (bits: readonly boolean[]): Extent[] => {
  const extents: Extent[] = [];
  let start = -1;
  for (let i = 0; i <= bits.length; i += 1) {
    if (bits[i] && start < 0) start = i;
    if (!bits[i] && start >= 0) {
      extents.push({ start, end: i });
      start = -1;
    }
  }
  return extents;
};

const bitmaps = fc.array(fc.boolean(), { minLength: SIZE, maxLength: SIZE });

/** Lists in which neighbours may touch, as dataExtents can yield them. */
const touching = fc.tuple(bitmaps, fc.array(fc.nat(SIZE), { maxLength: 6 })).map(([bits, cuts]) =>
  extentsOf(bits).flatMap(({ start, end }) => {
    const inside = [...new Set(cuts)].filter((cut) => cut > start && cut < end);
    const edges = [start, ...inside.sort((a, b) => a - b), end];
    return edges.slice(1).map((to, i) => ({ start: edges[i] as number, end: to }));
  }),
);

const SMALL = { numRuns: 500 };

t.test('the union is "or", byte by byte, and nothing in it touches', async (t) => {
  fc.assert(
    fc.property(touching, touching, (a, b) => {
      const [x, y] = [bitmapOf(a), bitmapOf(b)];
      const either = x.map((bit, i) => bit || (y[i] as boolean));
      return isDeepStrictEqual([...unionExtents(a, b)], extentsOf(either));
    }),
    SMALL,
  );
  t.pass();
});

t.test('intersecting is "and", byte by byte', async (t) => {
  fc.assert(
    fc.property(touching, touching, (a, b) => {
      const [x, y] = [bitmapOf(a), bitmapOf(b)];
      const both = x.map((bit, i) => bit && y[i]);
      return isDeepStrictEqual(bitmapOf(intersectExtents(a, b)), both);
    }),
    SMALL,
  );
  t.pass('for every pair of lists');
});

t.test('subtracting is "and not", byte by byte', async (t) => {
  fc.assert(
    fc.property(touching, touching, (a, b) => {
      const [x, y] = [bitmapOf(a), bitmapOf(b)];
      const rest = x.map((bit, i) => bit && !y[i]);
      return isDeepStrictEqual(bitmapOf(subtractExtents(a, b)), rest);
    }),
    SMALL,
  );
  t.pass('for every pair of lists');
});

t.test('aligning covers exactly the steps that are touched, up to the limit', async (t) => {
  const steps = fc.integer({ min: 1, max: 40 });
  fc.assert(
    fc.property(touching, steps, fc.integer({ min: 0, max: SIZE }), (extents, step, limit) => {
      const bits = bitmapOf(extents);
      const touched = (i: number): boolean => {
        const first = Math.floor(i / step) * step;
        return bits.slice(first, first + step).includes(true);
      };
      const aligned = [...alignExtents(extents, step, limit)];
      const covered = bits.map((_, i) => i < limit && touched(i));
      const joined = aligned.slice(1).every(({ start }, i) => start > (aligned[i] as Extent).end);
      return joined && isDeepStrictEqual(bitmapOf(aligned), covered);
    }),
    SMALL,
  );
  t.pass('for every list, step and limit, and neighbours that touch are joined');
});

t.test('offsets beyond 4 GiB stay exact', async (t) => {
  const far = 2 ** 40 + 4096;
  t.same(
    [...alignExtents([{ start: far + 1, end: far + 2 }], 65536, 2 ** 41)],
    [{ start: 2 ** 40, end: 2 ** 40 + 65536 }],
  );
  t.same(
    [...subtractExtents([{ start: 0, end: 2 ** 41 }], [{ start: far, end: 2 ** 41 - 1 }])],
    [
      { start: 0, end: far },
      { start: 2 ** 41 - 1, end: 2 ** 41 },
    ],
  );
});
