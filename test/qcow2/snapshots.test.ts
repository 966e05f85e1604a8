import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import {
  decodeSnapshots,
  encodeSnapshots,
  MAX_PRIVATE_BYTES,
  measureSnapshots,
  NEW_SNAPSHOT_ICOUNT,
  type SnapshotEntry,
} from '../../qcow2/snapshots.js';
import { bytes, faultOf, holds, plainRecord, words64 } from './codecs.js';

/** One entry of 24 + 5 bytes of extra data, id "7", tag "daily"; 75 bytes, padded to 80. */
const EXAMPLE = bytes(`
  0000000000050000 00000003 0001 0005 5f5e0ff0 00000001
  0000000000000002 00040000 0000001d
  0000000000040000 0000000010000000 ffffffffffffffff 0102030405
  37 6461696c79 0000000000
`);

const DECODED: SnapshotEntry = {
  l1Offset: 0x5_0000,
  l1Entries: 3,
  id: '7',
  tag: 'daily',
  seconds: 0x5f5e_0ff0,
  nanoseconds: 1,
  vmClock: 2n,
  vmStateBytes: 0x4_0000,
  diskSize: 256 * 2 ** 20,
  icount: NEW_SNAPSHOT_ICOUNT,
  extra: bytes('0102030405'),
};

/** The entries of a table and the bytes it takes; undefined when it is cut short. */
const decoded = (
  raw: Buffer,
  count: number,
): { entries: SnapshotEntry[]; bytes: number } | undefined => {
  const bytes = measureSnapshots('x', raw, count);
  return bytes === undefined ? undefined : { entries: decodeSnapshots(raw, count), bytes };
};

t.test('a snapshot, field by field', async (t) => {
  t.equal(EXAMPLE.length, 80);
  t.same(decoded(EXAMPLE, 1), { entries: [DECODED], bytes: 80 });
  t.same(encodeSnapshots('x', [DECODED]), EXAMPLE);
});

t.test('entries follow each other on 8-byte boundaries', async (t) => {
  const two = Buffer.concat([EXAMPLE, EXAMPLE, Buffer.alloc(100, 0xff)]);
  t.same(decoded(two, 2), { entries: [DECODED, DECODED], bytes: 160 });
  t.same(decoded(two, 0), { entries: [], bytes: 0 }, 'no table at all');
});

t.test('version 2 has no extra data, and a vmstate size of 32 bits', async (t) => {
  const raw = bytes(`
    0000000000050000 00000003 0001 0000 00000000 00000000
    0000000000000000 00040000 00000000 31 00000000000000
  `);
  const [entry] = decoded(raw, 1)?.entries ?? [];
  t.match(entry, { id: '1', tag: '', vmStateBytes: 0x4_0000, icount: NEW_SNAPSHOT_ICOUNT });
  t.equal(entry?.diskSize, undefined);
  t.equal(entry?.extra.length, 0);
});

t.test('16 bytes of extra data hold the 64-bit vmstate size and the disk size', async (t) => {
  const raw = bytes(`
    0000000000050000 00000003 0001 0000 00000000 00000000
    0000000000000000 ffffffff 00000010
    0000000100000000 0000000000000200 31 00000000000000
  `);
  const [entry] = decoded(raw, 1)?.entries ?? [];
  t.match(entry, { vmStateBytes: 2 ** 32, diskSize: 512, icount: NEW_SNAPSHOT_ICOUNT });
  t.equal(entry?.extra.length, 0);
});

t.test('a table cut anywhere has no measure', async (t) => {
  // The padding of the last entry need not be there.
  for (let length = 0; length < EXAMPLE.length; length += 1) {
    const bytes = measureSnapshots('x', EXAMPLE.subarray(0, length), 1);
    t.equal(bytes, length < 75 ? undefined : 80, `${length} bytes`);
  }
  t.equal(measureSnapshots('x', EXAMPLE, 2), undefined);
  const long = Buffer.from(EXAMPLE);
  long.set(bytes('ffff'), 12);
  t.equal(measureSnapshots('x', long, 1), undefined, 'an id that leaves the table');
});

t.test('what cannot be is refused', async (t) => {
  const refused = (at: number, hex: string): string | undefined => {
    const raw = Buffer.concat([EXAMPLE, Buffer.alloc(2000)]);
    raw.set(bytes(hex), at);
    return faultOf(() => measureSnapshots('x', raw, 1));
  };
  t.equal(refused(0, 'ffffffffffff0000'), 'store-damaged', 'an L1 table past 2^53');
  t.equal(refused(36, '00000401'), 'store-damaged', '1025 bytes of extra data');
  t.equal(refused(36, 'ffffffff'), 'store-damaged', '4 GiB of extra data');
  t.equal(refused(40, 'ffffffffffffffff'), 'store-damaged', 'a vmstate of 2^64 bytes');
  t.equal(refused(48, 'ffffffffffffffff'), 'store-damaged', 'a disk of 2^64 bytes');
  t.equal(refused(36, '00000400'), undefined, '1024 bytes are allowed');
});

t.test('a vmstate past 4 GiB leaves the largest number in the old field', async (t) => {
  const raw = encodeSnapshots('x', [{ ...DECODED, vmStateBytes: 2 ** 40 }]);
  t.equal(raw.readUInt32BE(32), 0xffff_ffff);
  t.equal(decoded(raw, 1)?.entries[0]?.vmStateBytes, 2 ** 40);
});

t.test('names that are not UTF-8 are written back as they were', async (t) => {
  const entry = (id: string, tag: string): SnapshotEntry[] => {
    const rawNames = { id: Buffer.from(id, 'latin1'), tag: Buffer.from(tag, 'latin1') };
    const raw = encodeSnapshots('x', [{ ...DECODED, rawNames }, DECODED]);
    const { entries = [] } = decoded(raw, 2) ?? {};
    t.ok(encodeSnapshots('x', entries).equals(raw), JSON.stringify([id, tag]));
    t.same(entries[1], DECODED, 'the next one is where it belongs');
    return entries;
  };
  for (const [id, tag] of [
    ['7', '\xff'],
    ['7', '\xfe'],
    ['\xc3', '\xbc'],
    ['7', '\xff'.repeat(30_000)],
    ['\xff'.repeat(65_535), 'x\xed\xa0\x80'],
  ] as const) {
    const [{ rawNames } = DECODED] = entry(id, tag);
    t.equal(rawNames?.tag.toString('latin1'), tag);
  }
  const [{ rawNames, tag } = DECODED] = entry('7', Buffer.from('a\ufffd').toString('latin1'));
  t.match({ rawNames, tag }, { rawNames: undefined, tag: 'a\ufffd' }, 'the sign itself is text');
});

const text = fc.string({ unit: 'grapheme', maxLength: 60 });

const snapshots: fc.Arbitrary<SnapshotEntry> = plainRecord({
  l1Offset: fc.maxSafeNat(),
  l1Entries: fc.nat(0xffff_ffff),
  id: text,
  tag: text,
  seconds: fc.nat(0xffff_ffff),
  nanoseconds: fc.nat(0xffff_ffff),
  vmClock: words64,
  vmStateBytes: fc.maxSafeNat(),
  diskSize: fc.maxSafeNat(),
  icount: words64,
  extra: fc.uint8Array({ maxLength: MAX_PRIVATE_BYTES }).map((extra) => Buffer.from(extra)),
});

t.test('every table comes back as it was written', async (t) => {
  holds(
    t,
    fc.property(fc.array(snapshots, { maxLength: 4 }), (entries) => {
      const raw = encodeSnapshots('x', entries);
      assert.deepEqual(decoded(raw, entries.length), { entries, bytes: raw.length });
    }),
  );
});

t.test(
  'hostile bytes are refused with a fault, have no measure, or decode within their length',
  async (t) => {
    const patches = fc.array(fc.tuple(fc.nat(79), fc.nat(255)), { maxLength: 8 });
    holds(
      t,
      fc.property(patches, fc.nat(65536), (changes, count) => {
        const raw = Buffer.concat([EXAMPLE, EXAMPLE]);
        for (const [at, byte] of changes) raw[at] = byte;
        faultOf(() => {
          const table = decoded(raw, count);
          if (!table) return;
          assert.ok(table.bytes <= raw.length + 7);
          assert.equal(table.entries.length, count);
        });
      }),
      { numRuns: 2000 },
    );
  },
);
