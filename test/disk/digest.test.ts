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

const ALGORITHMS: readonly DigestAlgorithm[] = ['xxh3-128', 'blake3'];
const SEED = Buffer.from('0123456789abcdef', 'hex');

const digestOf = (algorithm: DigestAlgorithm, data: Uint8Array, seed = SEED): Buffer => {
  const out = Buffer.alloc(DIGEST_BYTES);
  openDigester(algorithm, seed).digest(data, out, 0);
  return out;
};

t.test('xxh3-128 is the published algorithm', async (t) => {
  // XXH3-128 of nothing with seed 0, from the reference implementation's test vectors.
  const nothing = digestOf('xxh3-128', Buffer.alloc(0), Buffer.alloc(8));
  t.equal(nothing.toString('hex'), '99aa06d3014798d86001c324468d497f');
});

for (const algorithm of ALGORITHMS) {
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
      const digester = openDigester(algorithm, SEED);
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

t.test('only known algorithms have a name', async (t) => {
  for (const name of ALGORITHMS) t.equal(parseDigestAlgorithm(name), name);
  for (const name of ['', 'md5', 'BLAKE3', 'xxh3']) {
    t.throws(() => parseDigestAlgorithm(name), { code: 'usage' });
  }
});
