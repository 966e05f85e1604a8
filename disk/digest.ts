// Digests: 16 bytes that stand for the content of one cluster. All zero bytes as a digest mean "this
// cluster reads as zeros"; a digest that came out so by chance (2^-128) is changed to 1.

import { createRequire } from 'node:module';
import { fault } from './faults.js';

export const DIGEST_BYTES = 16;

/** The algorithm of a store's digests, fixed when it is made. */
export type DigestAlgorithm = 'xxh3-128' | 'blake3';

/** Digests one buffer after another with one algorithm and key. */
export interface Digester {
  /** Writes the 16-byte digest of `data` into `into` at byte `at`. */
  digest(data: Uint8Array, into: Uint8Array, at: number): void;
}

/** A hash of which the digest is DIGEST_BYTES long. */
interface Hash {
  reset(): void;
  update(data: Uint8Array): void;
  digest(): Uint8Array;
}

const load = createRequire(import.meta.url);

/** XXH3-128 (xxHash 0.8 specification, section XXH3). */
interface Xxh3 {
  new (seed: Buffer): Hash;
  /** With seed 0, all at once. */
  hash(data: Uint8Array): Uint8Array;
}

const loadXxh3 = (): Xxh3 => (load('xxhash-addon') as { XXHash128: Xxh3 }).XXHash128;

/** XXH3-128 with the store's 8-byte seed. */
const openXxh3 = (seed: Uint8Array): Hash => new (loadXxh3())(Buffer.from(seed));

let xxh3: Xxh3 | undefined;

/** XXH3-128 with seed 0, for short pieces of data: 16 bytes in memory of their own. */
export const shortHash = (data: Uint8Array): Uint8Array => {
  xxh3 ??= loadXxh3();
  return xxh3.hash(data);
};

/** Keyed BLAKE3, its first 16 bytes; the key is the store's seed, zero-padded to 32 bytes. */
const openBlake3 = (seed: Uint8Array): Hash => {
  const { Blake3Hasher } = load('@napi-rs/blake-hash') as {
    Blake3Hasher: {
      newKeyed(key: Buffer): {
        update(data: Uint8Array): void;
        digestBuffer(): Buffer;
        reset(): void;
      };
    };
  };
  const key = Buffer.alloc(32);
  key.set(seed);
  const hasher = Blake3Hasher.newKeyed(key);
  return {
    reset: () => hasher.reset(),
    update: (data) => hasher.update(data),
    digest: () => hasher.digestBuffer().subarray(0, DIGEST_BYTES),
  };
};

/** Opens a digester. `seed` is the store's 8 random bytes. */
export const openDigester = (algorithm: DigestAlgorithm, seed: Uint8Array): Digester => {
  const hash = algorithm === 'blake3' ? openBlake3(seed) : openXxh3(seed);
  return {
    digest(data, into, at) {
      hash.reset();
      hash.update(data);
      const digest = hash.digest();
      // Byte by byte: for so few, set() into shared memory takes half as long as digesting 64 KiB.
      for (let i = 0; i < DIGEST_BYTES; i += 1) into[at + i] = digest[i] as number;
      if (into[at] === 0 && isZeroDigest(into, at)) into[at] = 1;
    },
  };
};

/** True when the 16 bytes at `at` are all zero: the digest of a cluster of zeros. */
export const isZeroDigest = (digests: Uint8Array, at: number): boolean => {
  for (let i = at; i < at + DIGEST_BYTES; i += 1) if (digests[i] !== 0) return false;
  return true;
};

/** True when two 16-byte digests are equal. */
export const sameDigest = (a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean => {
  for (let i = 0; i < DIGEST_BYTES; i += 1) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
};

/** Reads an algorithm's name. */
export const parseDigestAlgorithm = (name: string): DigestAlgorithm => {
  if (name === 'xxh3-128' || name === 'blake3') return name;
  throw fault('usage', {
    problem: `The digest ${JSON.stringify(name)} is not known.`,
    advice: 'Choose xxh3-128 (default) or blake3.',
  });
};
