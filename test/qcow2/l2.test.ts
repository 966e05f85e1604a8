// The second words of extended L2 entries, and which entries lead to the same bytes.

import t from 'tap';
import { extendedKind, L2Table } from '../../qcow2/l2.js';

const PLAIN = 0x8000_0000_0005_0000n;
const PACKED = 0x4080_0000_0005_0123n;

/** A table of extended entries. */
const tableOf = (...words: readonly bigint[]): L2Table => {
  const raw = Buffer.alloc(words.length * 8);
  for (const [i, word] of words.entries()) raw.writeBigUInt64BE(word, i * 8);
  return L2Table.decodeExtended(raw);
};

const stored = (bits: bigint): bigint => bits;
const zeros = (bits: bigint): bigint => bits << 32n;
const ALL = 0xffff_ffffn;

t.test('what an extended entry says', async (t) => {
  for (const [word, map, kind] of [
    [0n, 0n, 'unallocated'],
    [0n, zeros(ALL), 'unallocated'],
    [0n, stored(1n), 'broken'],
    [0n, zeros(1n) | stored(1n), 'broken'],
    [PLAIN, 0n, 'zero'],
    [PLAIN, zeros(0x8000_0000n), 'zero'],
    [PLAIN, stored(ALL), 'plain'],
    [PLAIN, stored(1n), 'partial'],
    [PLAIN, stored(0x8000_0000n), 'partial'],
    [PLAIN, zeros(1n) | stored(ALL & ~1n), 'partial'],
    [PLAIN, zeros(1n) | stored(3n), 'broken'],
    [PLAIN | 1n, stored(ALL), 'plain'],
    [PACKED, 0n, 'packed'],
    [PACKED, stored(1n), 'packed'],
  ] as const) {
    const table = tableOf(0n, 0n, word, map);
    t.equal(table.kind(1), kind, `${word.toString(16)} ${map.toString(16)}`);
    t.equal(table.kind(0), 'unallocated');
    t.equal(table.length, 2);
  }
  t.equal(extendedKind(0, 0x5_0000, 0, 1), 'partial');
});

t.test('which entries are the same', async (t) => {
  const table = tableOf(PLAIN, stored(3n), 0n, 0n);
  const same = (word: bigint, map: bigint): boolean => table.isSame(0, tableOf(word, map));
  t.ok(same(PLAIN, stored(3n)));
  t.ok(same(PLAIN & ~(1n << 63n), stored(3n)), 'COPIED does not matter');
  t.notOk(same(PLAIN, stored(1n)), 'fewer subclusters');
  t.notOk(same(PLAIN, zeros(1n) | stored(3n)), 'a broken one');
  t.notOk(same(PLAIN + 0x1_0000n, stored(3n)), 'another place');
  t.ok(table.isSame(1, L2Table.empty(2)), 'nothing, in a table that is there or not');
});

t.test('a table of standard entries', async (t) => {
  const raw = Buffer.alloc(24);
  raw.writeBigUInt64BE(PLAIN, 0);
  raw.writeBigUInt64BE(PACKED, 8);
  const table = L2Table.decode(raw);
  t.same(
    [0, 1, 2].map((i) => table.kind(i)),
    ['plain', 'packed', 'unallocated'],
  );
  t.equal(table.stored(0), 0xffff_ffff);
});
