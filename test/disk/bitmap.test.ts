// Bitmaps against a model that looks at one bit after the other.

import t from 'tap';
import { bitmapBytes, bitmapExtents, type Extent, hasBitsPast, setBits } from '../../disk/index.js';
import { Random } from '../tools/files.js';

const UNIT = 4096;

/** The extents of a bitmap, bit by bit. */
const slowly = (bits: Uint8Array, limit: number): Extent[] => {
  const found: { start: number; end: number }[] = [];
  for (let i = 0; i * UNIT < limit; i += 1) {
    if (((bits[i >> 3] as number) & (1 << (i & 7))) === 0) continue;
    const [start, end] = [i * UNIT, Math.min(limit, (i + 1) * UNIT)];
    const last = found.at(-1);
    if (last?.end === start) last.end = end;
    else found.push({ start, end });
  }
  return found;
};

t.test('extents of random bitmaps', async (t) => {
  const random = new Random(7);
  for (let round = 0; round < 300; round += 1) {
    const units = 1 + random.below(400);
    const size = (units - 1) * UNIT + 1 + random.below(UNIT);
    const bytes = bitmapBytes(size, UNIT);
    t.equal(bytes, Math.ceil(units / 8));
    // Bitmaps that begin anywhere in memory, with few bits, many, or nearly all.
    const skew = random.below(4);
    const bits = Buffer.alloc(bytes + skew).subarray(skew);
    const density = [1, 20, 97][round % 3] as number;
    for (let i = 0; i < units; i += 1) {
      if (random.below(100) < density) bits[i >> 3] = (bits[i >> 3] as number) | (1 << (i & 7));
    }
    const extents = [...bitmapExtents([bits], UNIT, size)];
    const [cut, next] = [random.below(bytes + 1), random.below(bytes + 1)].sort((a, b) => a - b);
    const pieces = [bits.subarray(0, cut), bits.subarray(cut, next), bits.subarray(next)];
    t.same([...bitmapExtents(pieces, UNIT, size)], extents, 'the same in pieces');
    t.same(extents, slowly(bits, size), `round ${round}`);
    const again = Buffer.alloc(bytes);
    for (const extent of extents) setBits(again, UNIT, extent);
    t.ok(again.equals(bits), 'and back');
    t.notOk(hasBitsPast(bits, units), 'no bit past the end');
    if (units % 8 !== 0) {
      bits[units >> 3] = (bits[units >> 3] as number) | (1 << (units & 7));
      t.ok(hasBitsPast(bits, units), 'a bit past the end');
    }
  }
});

t.test('whole units are touched by parts of them', async (t) => {
  const bits = Buffer.alloc(1);
  setBits(bits, UNIT, { start: UNIT - 1, end: UNIT + 1 });
  t.equal(bits[0], 0b11);
  t.same([...bitmapExtents([Buffer.alloc(16)], UNIT, 100 * UNIT)], [], 'nothing is set');
  t.ok(hasBitsPast(Buffer.from([0, 0, 1]), 16), 'in a byte of its own');
});
