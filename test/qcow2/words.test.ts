import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import {
  decodePacked,
  hasReservedBits,
  hasReservedL1Bits,
  highOf,
  kindOf,
  lowOf,
  offsetOf,
  packedHigh,
  packedOffsetLimit,
} from '../../qcow2/words.js';
import { holds } from './codecs.js';

const CLUSTER_BITS = [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21] as const;

/** A 64-bit word as the two halves that the code works with. */
const halves = (word: bigint): [hi: number, lo: number] => [
  Number(word >> 32n),
  Number(word & 0xffff_ffffn),
];

const bit = (n: number): bigint => 1n << BigInt(n);

t.test('L1 and L2 entries, by hand', async (t) => {
  t.equal(offsetOf(...halves(0x8000_0000_0005_0000n)), 0x5_0000, 'COPIED is no part of the offset');
  t.equal(offsetOf(...halves(0x0012_3456_789a_0000n)), 0x12_3456_789a_0000, 'above 2^32');
  t.equal(
    offsetOf(...halves(0xffff_ffff_ffff_ffffn)),
    0xff_ffff_ffff_fe00,
    'bits 9 to 55 and no others',
  );
  t.equal(kindOf(...halves(0n)), 'unallocated');
  t.equal(kindOf(...halves(0x8000_0000_0005_0000n)), 'plain');
  t.equal(kindOf(...halves(1n)), 'zero', 'zero without a cluster');
  t.equal(kindOf(...halves(0x8000_0000_0005_0001n)), 'zero', 'zero with a cluster');
  t.equal(kindOf(...halves(0x4080_0000_0005_0123n)), 'packed');
  t.equal(kindOf(...halves(0x4080_0000_0005_0001n)), 'packed', 'bit 0 is an offset there');
  t.equal(kindOf(...halves(bit(63))), 'unallocated', 'COPIED alone leads nowhere');
});

t.test('reserved bits are exactly those of the specification', async (t) => {
  const found = (test: (hi: number, lo: number) => boolean): number[] =>
    Array.from({ length: 64 }, (_, n) => n).filter((n) => test(...halves(bit(n))));
  t.same(found(hasReservedBits), [1, 2, 3, 4, 5, 6, 7, 8, 56, 57, 58, 59, 60, 61]);
  t.same(
    found(hasReservedL1Bits),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 56, 57, 58, 59, 60, 61, 62],
    'an L1 entry knows neither zero nor compressed',
  );
  t.notOk(hasReservedBits(...halves(bit(62) | 0x1fen | bit(57))), 'compressed: all are in use');
});

t.test('compressed descriptors, by hand', async (t) => {
  // 64-KiB clusters: x = 62 - (16 - 8) = 54. 1000 bytes at 0x50123 end at 0x5050a: two more sectors.
  t.same(halves(0x4080_0000_0005_0123n), [packedHigh(0x5_0123, 1000, 16), 0x5_0123]);
  t.same(decodePacked(...halves(0x4080_0000_0005_0123n), 16), {
    offset: 0x5_0123,
    length: 3 * 512 - 0x123,
  });
  // 4-KiB clusters: x = 58. 100 bytes within one sector: no more sectors.
  t.same(halves(0x4000_0001_0000_0010n), [packedHigh(0x1_0000_0010, 100, 12), 0x10]);
  t.same(decodePacked(...halves(0x4000_0001_0000_0010n), 12), {
    offset: 0x1_0000_0010,
    length: 512 - 0x10,
  });
  // 2-MiB clusters: x = 49, 13 bits of sectors, all of them set.
  t.same(decodePacked(...halves(0x7ffe_0000_0000_0000n), 21), { offset: 0, length: 8192 * 512 });
  // 512-byte clusters: x = 61, a single bit.
  t.same(decodePacked(...halves(0x6000_0000_0000_0200n), 9), { offset: 0x200, length: 1024 });
});

t.test('offsets that a descriptor cannot hold', async (t) => {
  t.equal(packedOffsetLimit(21), 2 ** 49);
  t.equal(packedOffsetLimit(17), 2 ** 53);
  t.equal(packedOffsetLimit(16), 2 ** 53, 'no offset is past 2^53');
  t.equal(packedOffsetLimit(9), 2 ** 53);
});

t.test('every offset comes back from its halves', async (t) => {
  holds(
    t,
    fc.property(fc.nat(2 ** 44 - 1), (sector) => {
      const offset = sector * 512;
      assert.equal(offsetOf(highOf(offset), lowOf(offset)), offset);
      assert.equal((BigInt(highOf(offset)) << 32n) | BigInt(lowOf(offset)), BigInt(offset));
    }),
  );
});

for (const clusterBits of CLUSTER_BITS) {
  t.test(`every payload comes back from its descriptor, cluster_bits ${clusterBits}`, async (t) => {
    const x = BigInt(62 - (clusterBits - 8));
    const payload = fc.record({
      offset: fc.nat(packedOffsetLimit(clusterBits) - 2 ** clusterBits),
      length: fc.integer({ min: 1, max: 2 ** clusterBits - 1 }),
    });
    holds(
      t,
      fc.property(payload, ({ offset, length }) => {
        const hi = packedHigh(offset, length, clusterBits);
        const lo = lowOf(offset);
        // The specification's own arithmetic, on the whole word.
        const word = (BigInt(hi) << 32n) | BigInt(lo);
        const first = BigInt(offset) / 512n;
        const last = (BigInt(offset) + BigInt(length) - 1n) / 512n;
        assert.equal(word >> 62n, 1n);
        assert.equal(word & (bit(Number(x)) - 1n), BigInt(offset));
        assert.equal((word >> x) & (bit(62 - Number(x)) - 1n), last - first);
        const back = decodePacked(hi, lo, clusterBits);
        assert.equal(back.offset, offset);
        assert.ok(back.length >= length && back.length < length + 512);
        assert.equal((back.offset + back.length) % 512, 0, 'to the end of a sector');
      }),
    );
  });
}
