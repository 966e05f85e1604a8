// Whatever the places of two files are: what differs is named, and what is in the same place is not.

import fc from 'fast-check';
import t from 'tap';
import { placeDifference } from '../../dirty/place-difference.js';
import type { PlacedExtent } from '../../disk/index.js';

const BLOCKS = 24;

/** What one block of a file is. */
interface Block {
  readonly kind: PlacedExtent['kind'] | 'hole';
  readonly physical: number;
  readonly shared: boolean;
}

const block: fc.Arbitrary<Block> = fc.record({
  kind: fc.constantFrom('hole', 'unwritten', 'opaque', 'written', 'written', 'written'),
  physical: fc.nat(2 * BLOCKS),
  shared: fc.boolean(),
});

/** Two files that have much in common. */
const files = fc.array(
  fc.record({ old: block, now: block, same: fc.boolean() }).map(({ old, now, same }) => ({
    old,
    now: same ? old : now,
  })),
  { minLength: BLOCKS, maxLength: BLOCKS },
);

/** A file as extents: blocks that go on where the one before ends are joined. */
const extentsOf = (blocks: readonly Block[]): PlacedExtent[] => {
  const extents: PlacedExtent[] = [];
  for (const [start, { kind, physical, shared }] of blocks.entries()) {
    if (kind === 'hole') continue;
    const last = extents.at(-1);
    const joins =
      last?.end === start &&
      last.kind === kind &&
      last.shared === shared &&
      physical - last.physical === start - last.start;
    if (joins) extents.splice(-1, 1, { ...last, end: start + 1 });
    else extents.push({ start, end: start + 1, kind, physical, shared });
  }
  return extents;
};

const isZero = ({ kind }: Block): boolean => kind === 'hole' || kind === 'unwritten';

const isProvenSame = (old: Block, now: Block): boolean =>
  (isZero(old) && isZero(now)) ||
  (old.kind === 'written' &&
    now.kind === 'written' &&
    old.shared &&
    now.shared &&
    old.physical === now.physical);

t.test('exactly the blocks are named that are not proven to be the same', async (t) => {
  fc.assert(
    fc.property(files, (blocks) => {
      const named = new Set<number>();
      let at = -1;
      const olds = extentsOf(blocks.map(({ old }) => old));
      const news = extentsOf(blocks.map(({ now }) => now));
      for (const { start, end } of placeDifference(olds, news)) {
        if (start <= at || end <= start) return false;
        for (let i = start; i < end; i += 1) named.add(i);
        at = end;
      }
      return blocks.every(({ old, now }, i) => named.has(i) !== isProvenSame(old, now));
    }),
    { numRuns: 3000 },
  );
  t.pass('for all files');
});
