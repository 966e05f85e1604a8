import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import {
  type CodecName,
  decodeExtensions,
  decodeFacts,
  encodeExtensions,
  encodeFacts,
  featureNames,
  isCodecName,
  isFeatureNames,
  nameOfFeature,
  type StoreFacts,
} from '../../qcow2/extensions.js';
import { bytes, faultOf, holds, plainRecord } from './codecs.js';

/** A feature name table with QEMU's own first entry, then an extension of three bytes, then the end. */
const EXAMPLE = bytes(`
  6803f857 00000030
    00 00 6469727479 20626974 ${'00'.repeat(37)}
  12345678 00000003 aabbcc 0000000000
  00000000 00000000
`);

t.test('extensions, by hand', async (t) => {
  const found = decodeExtensions('x', EXAMPLE, 0);
  t.same(
    found.map(({ type, data }) => [type, data.length]),
    [
      [0x6803_f857, 48],
      [0x1234_5678, 3],
    ],
  );
  t.same(found[1]?.data, bytes('aabbcc'));
  t.same(encodeExtensions(found), EXAMPLE, 'padded to 8 bytes and ended by zeros');
  t.equal(nameOfFeature(found, 0), 'dirty bit');
  t.equal(nameOfFeature(found, 1), undefined);
  t.same(encodeExtensions([]), Buffer.alloc(8));
});

t.test('extensions begin after the header', async (t) => {
  const raw = Buffer.concat([Buffer.alloc(112, 0xff), EXAMPLE]);
  t.equal(decodeExtensions('x', raw, 112).length, 2);
});

t.test('a cluster may end without an end mark', async (t) => {
  t.equal(decodeExtensions('x', EXAMPLE.subarray(0, EXAMPLE.length - 8), 0).length, 2);
  t.same(decodeExtensions('x', Buffer.alloc(0), 0), []);
  t.same(decodeExtensions('x', EXAMPLE, EXAMPLE.length + 100), []);
});

t.test('an extension that leaves its cluster is refused', async (t) => {
  const raw = bytes('12345678 00000009 0000000000000000');
  t.equal(
    faultOf(() => decodeExtensions('x', raw, 0)),
    'store-damaged',
  );
  const huge = bytes('12345678 ffffffff 0000000000000000');
  t.equal(
    faultOf(() => decodeExtensions('x', huge, 0)),
    'store-damaged',
  );
});

t.test('a feature name table names incompatible bits only', async (t) => {
  const names = featureNames(new Map([[58, 'private clusters']]));
  t.ok(isFeatureNames(names));
  t.equal(names.data.length, 48);
  t.same(names.data.subarray(0, 18), bytes('00 3a 7072697661746520636c757374657273'));
  t.equal(nameOfFeature([names], 58), 'private clusters');
  t.equal(nameOfFeature([names], 57), undefined);
  const compatible = Buffer.from(names.data);
  compatible[0] = 1;
  t.equal(nameOfFeature([{ type: names.type, data: compatible }], 58), undefined);
  t.equal(nameOfFeature([], 58), undefined);
});

t.test('a name is cut to its 46 bytes', async (t) => {
  const names = featureNames(new Map([[3, 'n'.repeat(100)]]));
  t.equal(names.data.length, 48);
  t.equal(nameOfFeature([names], 3), 'n'.repeat(46));
});

const FACTS: StoreFacts = {
  uuid: '00112233-4455-6677-8899-aabbccddeeff',
  digest: 'xxh3-128',
  seed: bytes('0102030405060708'),
  codec: 'zstd',
  chain: [],
};

t.test('the facts of a store, by hand', async (t) => {
  const { type, data } = encodeFacts(FACTS);
  t.equal(type, 0x6e76_736e, '"nvsn"');
  // Version 1, the first digest algorithm, a codec name of four letters.
  const body = bytes(`
    01 01 04 00 00112233445566778899aabbccddeeff 0102030405060708 7a737464
  `);
  t.same(data.subarray(0, -8), body);
  t.same(decodeFacts('x', [{ type, data }]), FACTS);
  t.equal(decodeFacts('x', []), undefined, 'another program made the file');
});

t.test('a flipped bit in the facts is noticed', async (t) => {
  const { type, data } = encodeFacts(FACTS);
  for (let bit = 0; bit < data.length * 8; bit += 1) {
    const raw = Buffer.from(data);
    raw[bit >> 3] = (raw[bit >> 3] as number) ^ (1 << (bit & 7));
    const code = faultOf(() => decodeFacts('x', [{ type, data: raw }]));
    if (code !== 'store-damaged') t.fail(`bit ${bit} gives ${code}`);
  }
  t.pass('every bit');
});

t.test('facts cut anywhere are refused', async (t) => {
  const { type, data } = encodeFacts(FACTS);
  const codes = Array.from({ length: data.length }, (_, length) =>
    faultOf(() => decodeFacts('x', [{ type, data: data.subarray(0, length) }])),
  );
  t.ok(codes.every((code) => code === 'store-damaged'));
});

t.test('an unknown codec is refused by name', async (t) => {
  t.notOk(isCodecName('lzma'));
  const extension = encodeFacts({ ...FACTS, codec: 'lzma' as CodecName });
  t.equal(
    faultOf(() => decodeFacts('x', [extension])),
    'store-unsupported',
  );
});

const facts: fc.Arbitrary<StoreFacts> = plainRecord({
  uuid: fc.uuid(),
  digest: fc.constantFrom('xxh3-128' as const, 'blake3' as const),
  seed: fc.uint8Array({ minLength: 8, maxLength: 8 }).map((seed) => Buffer.from(seed)),
  codec: fc.constantFrom<CodecName>('zstd', 'zlib', 'none', 'lz4'),
  chain: fc.array(
    plainRecord({
      name: fc.string({ maxLength: 6 }),
      version: fc.string({ maxLength: 6 }),
      module: fc.string({ maxLength: 6 }),
      kept: fc.constantFrom<unknown>(null, 7, 'x', { check: 'ab' }),
      keyed: fc.boolean(),
    }),
    { maxLength: 3 },
  ),
});

const extensions = fc.array(
  plainRecord({
    type: fc.integer({ min: 1, max: 0xffff_ffff }),
    data: fc.uint8Array({ maxLength: 70 }).map((data) => Buffer.from(data)),
  }),
  { maxLength: 5 },
);

t.test('extensions and facts come back as they were written', async (t) => {
  holds(
    t,
    fc.property(extensions, facts, (list, stored) => {
      const raw = encodeExtensions([...list, encodeFacts(stored)]);
      assert.equal(raw.length % 8, 0);
      const found = decodeExtensions('x', raw, 0);
      assert.deepEqual(found.slice(0, -1), list);
      assert.deepEqual(decodeFacts('x', found.slice(-1)), stored);
    }),
  );
});

t.test('hostile bytes are refused with a fault, or decode', async (t) => {
  holds(
    t,
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(220), (data, from) => {
      faultOf(() => {
        const list = decodeExtensions('x', Buffer.from(data), from);
        nameOfFeature(list, 1);
      });
      faultOf(() => decodeFacts('x', [{ type: 0x6e76_736e, data: Buffer.from(data) }]));
      nameOfFeature([{ type: 0x6803_f857, data: Buffer.from(data) }], 1);
    }),
    { numRuns: 2000 },
  );
});
