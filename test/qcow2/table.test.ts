import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { Table } from '../../qcow2/table.js';
import { bytes, holds, words64 } from './codecs.js';

const RAW = bytes('8000000000050000 0000000000000000 0123456789abcdef');

t.test('words are big endian', async (t) => {
  const table = Table.decode(RAW);
  t.equal(table.length, 3);
  t.equal(table.byteLength, 24);
  t.same([table.hi(0), table.lo(0)], [0x8000_0000, 0x5_0000]);
  t.same([table.hi(2), table.lo(2)], [0x0123_4567, 0x89ab_cdef]);
  t.same(
    [0, 1, 2].map((i) => table.isClear(i)),
    [false, true, false],
  );
  t.same(table.encode(), RAW);
});

t.test('a decoded table keeps nothing of the bytes it came from', async (t) => {
  const raw = Buffer.from(RAW);
  const table = Table.decode(raw);
  raw.fill(0xff);
  t.same(table.encode(), RAW);
});

t.test('an empty table', async (t) => {
  const table = Table.empty(2);
  t.ok(table.isEmpty());
  t.same(table.encode(), Buffer.alloc(16));
  t.same(table.encode(64), Buffer.alloc(64), 'padded with zeros');
  table.set(1, 0, 1);
  t.notOk(table.isEmpty());
  t.notOk(table.isClear(1));
  t.equal(Table.empty(0).length, 0);
});

t.test('resizing cuts or adds zeros, and leaves the original alone', async (t) => {
  const table = Table.decode(RAW);
  t.same(table.resized(1).encode(), RAW.subarray(0, 8));
  t.same(table.resized(4).encode(), Buffer.concat([RAW, Buffer.alloc(8)]));
  const copy = table.resized(3);
  copy.set(0, 0, 0);
  t.same(table.encode(), RAW);
});

t.test('every table comes back as it was written', async (t) => {
  holds(
    t,
    fc.property(fc.array(words64), (words) => {
      const raw = Buffer.alloc(words.length * 8);
      const table = Table.empty(words.length);
      words.forEach((word, i) => {
        raw.writeBigUInt64BE(word, i * 8);
        table.set(i, Number(word >> 32n), Number(word & 0xffff_ffffn));
      });
      assert.ok(table.encode().equals(raw));
      assert.ok(Table.decode(raw).encode().equals(raw));
    }),
  );
});
