import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import {
  decodeHeader,
  encodeHeader,
  type Header,
  MAX_L1_BYTES,
  MAX_SNAPSHOTS,
} from '../../qcow2/header.js';
import { bytes, faultOf, holds, plainRecord, words64 } from './codecs.js';

/** 256 MiB in 64-KiB clusters with 32-bit refcounts, zstd and five snapshots. */
const EXAMPLE = bytes(`
  514649fb 00000003 0000000000000000 00000000 00000010
  0000000010000000 00000000 00000002 0000000000030000
  0000000000010000 00000001 00000005 0000000000040000
  0000000000000008 0000000000000001 0400000000000000
  00000005 00000070 01 00000000000000
`);

const DECODED: Header = {
  version: 3,
  clusterBits: 16,
  diskSize: 256 * 2 ** 20,
  l1Entries: 2,
  l1Offset: 0x30000,
  refcountTableOffset: 0x10000,
  refcountTableClusters: 1,
  snapshotCount: 5,
  snapshotsOffset: 0x40000,
  incompatible: 8n,
  compatible: 1n,
  autoclear: 1n << 58n,
  refcountOrder: 5,
  headerLength: 112,
  compressionType: 1,
};

/** The example with `hex` at byte `at`. */
const withBytes = (at: number, hex: string): Buffer => {
  const raw = Buffer.from(EXAMPLE);
  raw.set(bytes(hex), at);
  return raw;
};

t.test('a version 3 header, field by field', async (t) => {
  t.equal(EXAMPLE.length, 112);
  t.same(decodeHeader('x', EXAMPLE), DECODED);
  t.same(encodeHeader(DECODED), EXAMPLE);
});

t.test('a version 2 header has no feature bits and 16-bit refcounts', async (t) => {
  // The 72 bytes of version 2 may be followed by anything: extensions, or the end of the file.
  const raw = withBytes(4, '00000002');
  for (const given of [raw, raw.subarray(0, 72)]) {
    t.same(decodeHeader('x', given), {
      ...DECODED,
      version: 2,
      incompatible: 0n,
      compatible: 0n,
      autoclear: 0n,
      refcountOrder: 4,
      headerLength: 72,
      compressionType: 0,
    });
  }
});

t.test('a header of 104 bytes means deflate', async (t) => {
  const header = decodeHeader('x', withBytes(100, '00000068'));
  t.match(header, { headerLength: 104, compressionType: 0 });
});

t.test('what cannot be is refused', async (t) => {
  const cases: readonly [name: string, raw: Buffer, code: string][] = [
    ['another magic', withBytes(0, '514649fa'), 'store-not-qcow2'],
    ['an empty file', Buffer.alloc(0), 'store-not-qcow2'],
    ['half a header', EXAMPLE.subarray(0, 71), 'store-not-qcow2'],
    ['a version 3 header cut short', EXAMPLE.subarray(0, 111), 'store-damaged'],
    ['version 1', withBytes(4, '00000001'), 'store-unsupported'],
    ['version 4', withBytes(4, '00000004'), 'store-unsupported'],
    ['a backing file', withBytes(8, '0000000000000200'), 'store-unsupported'],
    ['encryption', withBytes(32, '00000002'), 'store-unsupported'],
    ['clusters of 256 bytes', withBytes(20, '00000008'), 'store-damaged'],
    ['clusters of 4 MiB', withBytes(20, '00000016'), 'store-damaged'],
    ['clusters of 2^4294967295 bytes', withBytes(20, 'ffffffff'), 'store-damaged'],
    ['a disk of 2^64 - 1 bytes', withBytes(24, 'ffffffffffffffff'), 'store-damaged'],
    ['an L1 table of 32 MiB and 8 bytes', withBytes(36, '00400001'), 'store-damaged'],
    ['an L1 table off its boundary', withBytes(40, '0000000000030200'), 'store-damaged'],
    ['an L1 table at 2^63', withBytes(40, '8000000000000000'), 'store-damaged'],
    ['a refcount table off its boundary', withBytes(48, '0000000000010008'), 'store-damaged'],
    ['a refcount table over 8 MiB', withBytes(56, '00000081'), 'store-damaged'],
    ['65537 snapshots', withBytes(60, '00010001'), 'store-damaged'],
    ['a snapshot table off its boundary', withBytes(64, '0000000000040001'), 'store-damaged'],
    ['refcounts of 128 bits', withBytes(96, '00000007'), 'store-damaged'],
    ['a header length of 96', withBytes(100, '00000060'), 'store-damaged'],
    ['a header length of 113', withBytes(100, '00000071'), 'store-damaged'],
    ['a header longer than a cluster', withBytes(100, '00010008'), 'store-damaged'],
  ];
  for (const [name, raw, code] of cases) {
    t.equal(
      faultOf(() => decodeHeader('x', raw)),
      code,
      name,
    );
  }
});

t.test('the limits themselves are allowed', async (t) => {
  for (const raw of [
    withBytes(36, '00400000'),
    withBytes(56, '00000080'),
    withBytes(60, '00010000'),
    withBytes(96, '00000006'),
    withBytes(24, '001fffffffffffff'),
  ]) {
    t.equal(
      faultOf(() => decodeHeader('x', raw)),
      undefined,
    );
  }
});

const headers: fc.Arbitrary<Header> = fc.integer({ min: 9, max: 21 }).chain((clusterBits) => {
  const aligned = fc.nat(2 ** 31).map((n) => n * 2 ** clusterBits);
  return plainRecord({
    version: fc.constant(3 as const),
    clusterBits: fc.constant(clusterBits),
    diskSize: fc.nat(Number.MAX_SAFE_INTEGER),
    l1Entries: fc.nat(MAX_L1_BYTES / 8),
    l1Offset: aligned,
    refcountTableOffset: aligned,
    refcountTableClusters: fc.nat((8 * 2 ** 20) / 2 ** clusterBits),
    snapshotCount: fc.nat(MAX_SNAPSHOTS),
    snapshotsOffset: aligned,
    incompatible: words64,
    compatible: words64,
    autoclear: words64,
    refcountOrder: fc.nat(6),
    headerLength: fc.constant(112),
    compressionType: fc.nat(255),
  });
});

t.test('every header comes back as it was written', async (t) => {
  holds(
    t,
    fc.property(headers, (header) => {
      assert.deepEqual(decodeHeader('x', encodeHeader(header)), header);
    }),
  );
});

t.test('hostile bytes are refused with a fault, or decode to what the limits allow', async (t) => {
  const patches = fc.array(fc.tuple(fc.nat(111), fc.nat(255)), { maxLength: 12 });
  holds(
    t,
    fc.property(patches, fc.integer({ min: 0, max: 112 }), (changes, length) => {
      const raw = Buffer.from(EXAMPLE);
      for (const [at, byte] of changes) raw[at] = byte;
      faultOf(() => {
        const header = decodeHeader('x', raw.subarray(0, length));
        assert.ok(header.l1Entries * 8 <= MAX_L1_BYTES && header.snapshotCount <= MAX_SNAPSHOTS);
        assert.ok(Number.isSafeInteger(header.diskSize) && Number.isSafeInteger(header.l1Offset));
      });
    }),
    { numRuns: 2000 },
  );
});
