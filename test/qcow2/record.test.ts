import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { checksum } from '../../qcow2/checksum.js';
import {
  decodeRecord,
  encodeRecord,
  MAX_RECORD_BYTES,
  type SnapshotRecord,
} from '../../qcow2/record.js';
import { NEW_SNAPSHOT_ICOUNT, type SnapshotEntry } from '../../qcow2/snapshots.js';
import { NIL_UUID } from '../../qcow2/uuid.js';
import { bytes, faultOf, holds, plainRecord } from './codecs.js';

const ENTRY: SnapshotEntry = {
  l1Offset: 0x5_0000,
  l1Entries: 3,
  id: '7',
  tag: 'daily',
  seconds: 1_600_000_000,
  nanoseconds: 5,
  vmClock: 0n,
  vmStateBytes: 0x4_0000,
  diskSize: 512,
  icount: NEW_SNAPSHOT_ICOUNT,
  extra: Buffer.alloc(0),
};

const RECORD: SnapshotRecord = {
  uuid: '00112233-4455-6677-8899-aabbccddeeff',
  parent: NIL_UUID,
  imageSize: 511,
  digestL1: 1,
  root: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
  storedClusters: 2,
  storedBytes: 77,
  tool: 'nvsnap 1',
  dirty: 'scan',
  epoch: '',
  image: '/img',
};

/** The body of that record; its checksum follows. */
const BODY = bytes(`
  4e565331 0001 0000 00112233445566778899aabbccddeeff 00000000000000000000000000000000
  00000000000001ff 00000001 00000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf
  0000000000000002 000000000000004d 0008 0004 0000 0004
  6e76736e61702031 7363616e 2f696d67
`);

/** `body` as the record of `ENTRY`, with the checksum that it needs to be believed. */
const sealed = (body: Buffer): SnapshotEntry => {
  const fields = ['7', 'daily', 1_600_000_000, 5, 0x4_0000, 512, 3];
  const seal = checksum(Buffer.concat([body, Buffer.from(JSON.stringify(fields))]));
  return { ...ENTRY, extra: Buffer.concat([body, seal]) };
};

const decoded = (entry: SnapshotEntry, extra: Buffer): SnapshotRecord | undefined =>
  decodeRecord('x', { ...entry, extra });

t.test('a record, field by field', async (t) => {
  t.same(encodeRecord(RECORD, ENTRY).subarray(0, -8), BODY);
  t.same(encodeRecord(RECORD, ENTRY), sealed(BODY).extra);
  t.same(decoded(ENTRY, encodeRecord(RECORD, ENTRY)), RECORD);
});

t.test(
  'the digest of the tables comes after the texts, unless the record is an early one',
  async (t) => {
    const tables = 'b0b1b2b3b4b5b6b7b8b9babbbcbdbebf';
    const raw = encodeRecord({ ...RECORD, tables }, ENTRY);
    t.same(raw, sealed(Buffer.concat([BODY, bytes(tables)])).extra);
    t.same(decoded(ENTRY, raw), { ...RECORD, tables });
    // Of two in a row with the same texts each has its own.
    const other = { ...RECORD, tables: tables.replace('b0', 'c0') };
    t.same(decoded(ENTRY, encodeRecord(other, ENTRY)), other);
  },
);

t.test('a snapshot of another program has none', async (t) => {
  t.equal(decodeRecord('x', ENTRY), undefined);
  t.equal(decoded(ENTRY, Buffer.alloc(200)), undefined);
});

t.test('a text that is too long is cut between characters', async (t) => {
  for (let before = 90; before < 104; before += 1) {
    const dirty = `${'x'.repeat(before)}\u{1f600}ü\u20acy`;
    const { dirty: cut = '' } = decoded(ENTRY, encodeRecord({ ...RECORD, dirty }, ENTRY)) ?? {};
    const points = [...dirty];
    let longest = dirty;
    while (Buffer.byteLength(longest) > 100) {
      points.pop();
      longest = points.join('');
    }
    t.equal(cut, longest, `${before} bytes before`);
  }
});

t.test('a flipped bit after the magic is noticed', async (t) => {
  const raw = encodeRecord(RECORD, ENTRY);
  for (let bit = 32; bit < raw.length * 8; bit += 1) {
    const flipped = Buffer.from(raw);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    const code = faultOf(() => decoded(ENTRY, flipped));
    if (code !== 'store-damaged') t.fail(`bit ${bit} gives ${code}`);
  }
  t.pass('every bit');
});

t.test('a change of the snapshot that it belongs to is noticed', async (t) => {
  const extra = encodeRecord(RECORD, ENTRY);
  const changes: Partial<SnapshotEntry>[] = [
    { id: '8' },
    { tag: 'dailz' },
    { seconds: 1 },
    { nanoseconds: 6 },
    { vmStateBytes: 0 },
    { diskSize: 1024 },
    { l1Entries: 4 },
  ];
  for (const change of changes) {
    t.equal(
      faultOf(() => decodeRecord('x', { ...ENTRY, ...change, extra })),
      'store-damaged',
      Object.keys(change)[0] ?? '',
    );
  }
  t.same(decodeRecord('x', { ...ENTRY, l1Offset: 0, extra }), RECORD, 'an L1 table may move');
});

t.test('a forged record is refused where it cannot be true', async (t) => {
  const refused = (at: number, hex: string): string | undefined => {
    const body = Buffer.from(BODY);
    body.set(bytes(hex), at);
    return faultOf(() => decodeRecord('x', sealed(body)));
  };
  t.equal(refused(0, '4e565331'), undefined, 'the checksum alone is right');
  t.equal(refused(4, '0002'), 'store-unsupported', 'a later version');
  t.equal(refused(40, 'ffffffffffffffff'), 'store-damaged', 'an image of 2^64 bytes');
  t.equal(refused(40, '0020000000000000'), 'store-damaged', 'an image of 2^53 bytes');
  t.equal(refused(72, 'ffffffffffffffff'), 'store-damaged', '2^64 clusters');
  t.equal(refused(80, 'ffffffffffffffff'), 'store-damaged', '2^64 bytes stored');
  t.equal(refused(94, '0005'), 'store-damaged', 'a text that leaves the record');
});

t.test('a snapshot may have a name of any length', async (t) => {
  for (const length of [2900, 3100, 20_000]) {
    const named = { ...ENTRY, tag: 'é'.repeat(length / 2) };
    const extra = encodeRecord(RECORD, named);
    t.same(decoded(named, extra), RECORD);
    const other = { ...named, tag: `${named.tag.slice(1)}e` };
    t.equal(
      faultOf(() => decoded(other, extra)),
      'store-damaged',
    );
  }
});

t.test('records with other texts, one after the other', async (t) => {
  const other = { ...RECORD, parent: RECORD.uuid, dirty: 'bitmap', epoch: '7', image: '/imé' };
  for (const record of [RECORD, other, other, RECORD]) {
    t.same(decoded(ENTRY, encodeRecord(record, ENTRY)), record);
  }
});

t.test('long texts are cut between characters', async (t) => {
  const extra = encodeRecord(
    { ...RECORD, tool: 't'.repeat(101), dirty: 'é'.repeat(60), image: `/${'字'.repeat(400)}` },
    ENTRY,
  );
  t.ok(extra.length <= MAX_RECORD_BYTES);
  t.match(decoded(ENTRY, extra), {
    tool: 't'.repeat(100),
    dirty: 'é'.repeat(50),
    image: `/${'字'.repeat(170)}`,
  });
});

const text = (most: number): fc.Arbitrary<string> =>
  fc.string({ unit: 'grapheme' }).filter((value) => Buffer.byteLength(value) <= most);

const records: fc.Arbitrary<SnapshotRecord> = plainRecord({
  uuid: fc.uuid(),
  parent: fc.oneof(fc.uuid(), fc.constant(NIL_UUID)),
  imageSize: fc.maxSafeNat(),
  digestL1: fc.nat(0xffff_ffff),
  root: fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((root) => Buffer.from(root).toString('hex')),
  storedClusters: fc.maxSafeNat(),
  storedBytes: fc.maxSafeNat(),
  tool: text(100),
  dirty: text(100),
  epoch: text(100),
  image: text(512),
});

t.test('every record comes back as it was written', async (t) => {
  holds(
    t,
    fc.property(records, (record) => {
      assert.deepEqual(decoded(ENTRY, encodeRecord(record, ENTRY)), record);
    }),
  );
});

t.test('hostile bytes under a right checksum are refused with a fault, or decode', async (t) => {
  const patches = fc.array(fc.tuple(fc.integer({ min: 4, max: 110 }), fc.nat(255)));
  holds(
    t,
    fc.property(patches, fc.integer({ min: 0, max: BODY.length }), (changes, length) => {
      const body = Buffer.from(BODY);
      for (const [at, byte] of changes) body[at] = byte;
      faultOf(() => decodeRecord('x', sealed(body.subarray(0, length))));
      faultOf(() => decoded(ENTRY, body.subarray(0, length)));
    }),
    { numRuns: 2000 },
  );
});
