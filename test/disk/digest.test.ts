import fs from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  DIGEST_BYTES,
  type DigestAlgorithm,
  isZeroDigest,
  openDigester,
  parseDigestAlgorithm,
  sameDigest,
} from '../../disk/digest.js';
import { tempDir } from '../tools/files.js';

const ALGORITHMS: readonly DigestAlgorithm[] = ['xxh3-128', 'blake3'];
const SEED = Buffer.from('0123456789abcdef', 'hex');

const digestOf = (algorithm: DigestAlgorithm, data: Uint8Array, seed = SEED): Buffer => {
  const out = Buffer.alloc(DIGEST_BYTES);
  openDigester({ algorithm, seed }).digest(data, out, 0);
  return out;
};

t.test('xxh3-128 is the published algorithm', async (t) => {
  // XXH3-128 of nothing with seed 0, from the reference implementation's test vectors.
  const nothing = digestOf('xxh3-128', Buffer.alloc(0), Buffer.alloc(8));
  t.equal(nothing.toString('hex'), '99aa06d3014798d86001c324468d497f');
});

t.test(
  'xxh3-128 is what another binding of the library says, whatever the length and the seed',
  async (t) => {
    const { XXHash128 } = createRequire(import.meta.url)('xxhash-addon') as {
      XXHash128: new (seed: Buffer) => { update(data: Uint8Array): void; digest(): Buffer };
    };
    const other = (data: Uint8Array, seed: Buffer): Buffer => {
      const hash = new XXHash128(seed);
      hash.update(data);
      return hash.digest();
    };
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * i) >>> 3));
    // The algorithm changes with the length: at 16, 128, 240 bytes, and in blocks of 1 KiB.
    for (let length = 0; length < 2100; length += 1) {
      const data = bytes.subarray(length % 7, (length % 7) + length);
      if (!digestOf('xxh3-128', data).equals(other(data, SEED))) t.fail(`of ${length} bytes`);
    }
    fc.assert(
      fc.property(fc.nat(70_000), fc.uint8Array({ minLength: 8, maxLength: 8 }), (length, seed) => {
        const data = bytes.subarray(0, length);
        return digestOf('xxh3-128', data, Buffer.from(seed)).equals(other(data, Buffer.from(seed)));
      }),
    );
    t.pass('of all lengths the same');
  },
);

for (const algorithm of ALGORITHMS) {
  t.test(`${algorithm}: a file is scanned up to what is not known`, async (t) => {
    const path = join(tempDir(t), 'file');
    const digester = openDigester({ algorithm, seed: SEED });
    const [size, step, last] = [512, 4, 100];
    // Eleven clusters, of which the third is zero, and a short one.
    const bytes = Buffer.from(Array.from({ length: 11 * size + last }, (_, i) => (i * i) >>> 5));
    bytes.fill(0, 2 * size, 3 * size);
    fs.writeFileSync(path, bytes);
    const fd = fs.openSync(path, 'r');
    t.teardown(() => fs.closeSync(fd));
    const all = Buffer.alloc(13 * DIGEST_BYTES, 7);
    digester.fingerprints(bytes, size, all, DIGEST_BYTES);
    const piece = Buffer.alloc(step * size);
    const scan = (known: Buffer, offset: number, length: number, at: number) => {
      const into = Buffer.alloc(13 * DIGEST_BYTES, 7);
      return { done: digester.scan({ fd, offset, length }, piece, size, known, into, at), into };
    };
    t.same(scan(all, 0, bytes.length, DIGEST_BYTES), { done: bytes.length, into: all });
    for (let cluster = 0; cluster < 12; cluster += 1) {
      const known = Buffer.from(all);
      known.writeUInt8(
        known.readUInt8((1 + cluster) * DIGEST_BYTES + 15) ^ 1,
        (1 + cluster) * DIGEST_BYTES + 15,
      );
      const { done, into } = scan(known, 0, bytes.length, DIGEST_BYTES);
      const end = Math.min(bytes.length, (Math.floor(cluster / step) + 1) * step * size);
      t.equal(done, end, `cluster ${cluster} is another`);
      const prints = (1 + Math.ceil(end / size)) * DIGEST_BYTES;
      t.same(into.subarray(0, prints), all.subarray(0, prints));
      t.ok(
        into.subarray(prints).equals(Buffer.alloc(into.length - prints, 7)),
        'nothing behind it',
      );
      const begin = Math.floor(cluster / step) * step * size;
      t.ok(piece.subarray(0, end - begin).equals(bytes.subarray(begin, end)), 'it is in the piece');
    }
    const inside = scan(all, 3 * size, 2 * size, 4 * DIGEST_BYTES);
    t.equal(inside.done, 2 * size, 'less than a piece, anywhere');
    t.same(inside.into.subarray(64, 96), all.subarray(64, 96));
    t.equal(scan(all, 0, bytes.length, 0).done, step * size, 'what is known of others');
    t.equal(
      scan(all, 0, bytes.length + 1, DIGEST_BYTES).done,
      8 * size,
      'not the piece that is short',
    );
    t.equal(scan(all, bytes.length, 1, 0).done, 0, 'there is nothing there');
    const closed = { fd: 2 ** 20, offset: 0, length: 1 };
    t.throws(() => digester.scan(closed, piece, size, all, Buffer.alloc(16), 0), { code: 'EBADF' });
  });

  t.test(`${algorithm}: fingerprints are digests, and zeros for zeros`, async (t) => {
    const digester = openDigester({ algorithm, seed: SEED });
    const clusters = fc.array(fc.constantFrom('data', 'zeros', 'last', 'first'), { maxLength: 9 });
    fc.assert(
      fc.property(clusters, fc.constantFrom(1, 512, 4096), fc.nat(), (kinds, size, cut) => {
        const data = Buffer.from(new SharedArrayBuffer(kinds.length * size));
        for (const [i, kind] of kinds.entries()) {
          if (kind === 'data') data.fill(i + 1, i * size, (i + 1) * size);
          if (kind === 'first') data[i * size] = 1;
          if (kind === 'last') data[(i + 1) * size - 1] = 1;
        }
        // The last cluster may be short.
        const content = data.subarray(0, data.length - (cut % size));
        const at = 5;
        const count = Math.ceil(content.length / size);
        const prints = Buffer.alloc(at + count * DIGEST_BYTES + 3, 0xee);
        digester.fingerprints(content, size, prints, at);
        const expected = Buffer.alloc(prints.length, 0xee);
        for (let i = 0; i < count; i += 1) {
          const cluster = content.subarray(i * size, (i + 1) * size);
          const print = expected.subarray(at + i * DIGEST_BYTES).subarray(0, DIGEST_BYTES);
          if (cluster.every((byte) => byte === 0)) print.fill(0);
          else digester.digest(cluster, print, 0);
        }
        return prints.equals(expected);
      }),
    );
    t.pass('each as if alone, and nothing is written beside them');
  });

  t.test(`${algorithm}: a digest depends on every byte and on the seed`, async (t) => {
    const data = Buffer.alloc(4096, 7);
    const before = digestOf(algorithm, data);
    t.ok(digestOf(algorithm, Buffer.from(data)).equals(before), 'it is the same every time');
    fc.assert(
      fc.property(fc.nat(4095), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(data);
        changed[at] = (changed[at] as number) ^ flip;
        return !digestOf(algorithm, changed).equals(before);
      }),
      { numRuns: 60 },
    );
    const other = Buffer.from(SEED);
    other[7] = 0;
    t.notOk(digestOf(algorithm, data, other).equals(before));
    t.notOk(digestOf(algorithm, data.subarray(1)).equals(before), 'length counts');
  });

  t.test(
    `${algorithm}: one digester gives each buffer its own digest, shared memory too`,
    async (t) => {
      const digester = openDigester({ algorithm, seed: SEED });
      const shared = Buffer.from(new SharedArrayBuffer(3 * 512));
      shared.fill(1, 0, 512).fill(2, 512, 1024).fill(3, 1024);
      const out = Buffer.alloc(4 * DIGEST_BYTES, 0xee);
      for (const i of [2, 0, 1]) {
        digester.digest(shared.subarray(i * 512, (i + 1) * 512), out, i * DIGEST_BYTES);
      }
      for (const i of [0, 1, 2]) {
        const alone = digestOf(algorithm, Buffer.alloc(512, i + 1));
        t.ok(sameDigest(out, i * DIGEST_BYTES, alone, 0), `buffer ${i}`);
      }
      t.ok(out.subarray(48).equals(Buffer.alloc(16, 0xee)), 'nothing is written past a digest');
    },
  );

  t.test(`${algorithm}: zeros as content do not digest to the mark for zeros`, async (t) => {
    for (const length of [0, 1, 4096]) {
      t.notOk(isZeroDigest(digestOf(algorithm, Buffer.alloc(length)), 0));
    }
  });
}

t.test('the mark for zeros and equality look at 16 bytes, no more and no less', async (t) => {
  const digests = Buffer.alloc(3 * DIGEST_BYTES);
  digests[15] = 1;
  digests[32] = 1;
  t.notOk(isZeroDigest(digests, 0));
  t.ok(isZeroDigest(digests, 16));
  t.notOk(isZeroDigest(digests, 32));
  t.ok(sameDigest(digests, 16, Buffer.alloc(16), 0));
  t.notOk(sameDigest(digests, 0, Buffer.alloc(16), 0));
  t.notOk(sameDigest(digests, 32, Buffer.alloc(16), 0));
});

t.test('what is compiled writes nowhere but where there is room', async (t) => {
  const digester = openDigester({ algorithm: 'xxh3-128', seed: SEED });
  const data = Buffer.alloc(3 * 4096, 1);
  const into = Buffer.alloc(3 * DIGEST_BYTES);
  for (const at of [-1, 1.5, Number.NaN, 33, 2 ** 32, 2 ** 53]) {
    t.throws(() => digester.digest(data, into, at), RangeError, `at ${at}`);
  }
  t.throws(() => digester.digest(data, into.subarray(0, 15), 0), RangeError);
  t.throws(() => digester.fingerprints(data, 4096, into, 1), RangeError);
  t.throws(() => digester.fingerprints(data, 4095, into, 0), RangeError, 'a fourth, of 3 bytes');
  t.throws(() => digester.fingerprints(data, 0, into, 0), RangeError);
  t.throws(
    () => openDigester({ algorithm: 'xxh3-128', seed: SEED.subarray(1) }).digest(data, into, 0),
    RangeError,
  );
  const words = new Uint16Array(64) as unknown as Uint8Array;
  t.throws(() => digester.digest(words, into, 0), RangeError, 'bytes only');
  t.throws(() => digester.digest(data, words, 0), RangeError);
  t.ok(into.every((byte) => byte === 0));
});

t.test('only known algorithms have a name', async (t) => {
  for (const name of ALGORITHMS) t.equal(parseDigestAlgorithm(name), name);
  for (const name of ['', 'md5', 'BLAKE3', 'xxh3']) {
    t.throws(() => parseDigestAlgorithm(name), { code: 'usage' });
  }
});
