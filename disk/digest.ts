// Digests: 16 bytes that stand for the content of one cluster. All zero bytes as a digest mean "this
// cluster reads as zeros"; a digest that came out so by chance (2^-128) is changed to 1.

import { createRequire } from 'node:module';
import { fault } from './faults.js';
import { readAt } from './file.js';
import { DIGEST_BYTES, errorOf, native } from './native.js';

export { DIGEST_BYTES, shortHash } from './native.js';

/** The algorithm of a store's digests, fixed when it is made. */
export type DigestAlgorithm = 'xxh3-128' | 'blake3';

/** How a store's digests are made; plain data. */
export interface DigestOptions {
  readonly algorithm: DigestAlgorithm;
  /** The store's 8 random bytes, or a secret key. */
  readonly seed: Uint8Array;
}

/** Bytes of a file that is open. */
export interface FilePart {
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
}

/** Digests one buffer after another with one algorithm and key. */
export interface Digester {
  /** Writes the 16-byte digest of `data` into `into` at byte `at`. */
  digest(data: Uint8Array, into: Uint8Array, at: number): void;
  /**
   * Writes the fingerprints of the clusters of `size` bytes in `data`, of which the last may be short, one after
   * another from byte `at` of `into` on: of each its digest, or zeros where all of it is zero.
   */
  fingerprints(data: Buffer, size: number, into: Uint8Array, at: number): void;
  /**
   * Reads a part of a file, as much at a time as `piece` holds (whole clusters of `size` bytes), and writes the
   * fingerprints as `fingerprints` does. Ends behind the first piece whose fingerprints are not those at the same
   * place of `known`, which is then in `piece`. Returns the bytes gone through: 0 where the file has no whole piece.
   * Throws Node's error of a read that fails.
   */
  scan(
    part: FilePart,
    piece: Buffer,
    size: number,
    known: Uint8Array,
    into: Uint8Array,
    at: number,
  ): number;
}

/** XXH3-128 (xxHash 0.8 specification, section XXH3). */
const openXxh3 = (seed: Uint8Array): Digester => ({
  digest: (data, into, at) => native.digest(seed, data, into, at),
  fingerprints: (data, size, into, at) => native.fingerprints(seed, data, size, into, at),
  scan: ({ fd, offset, length }, piece, size, known, into, at) => {
    const done = native.scan(seed, fd, offset, length, piece, size, known, into, at);
    if (done < 0) throw errorOf('read', done);
    return done;
  },
});

/** Keyed BLAKE3, its first 16 bytes; the key is the store's seed, zero-padded to 32 bytes. */
const openBlake3 = (seed: Uint8Array): Digester => {
  const { Blake3Hasher } = createRequire(import.meta.url)('@napi-rs/blake-hash') as {
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

  const digest: Digester['digest'] = (data, into, at) => {
    hasher.reset();
    hasher.update(data);
    const digest = hasher.digestBuffer();
    // Byte by byte: for so few, set() into shared memory takes longer.
    for (let i = 0; i < DIGEST_BYTES; i += 1) into[at + i] = digest[i] as number;
    if (into[at] === 0 && isZeroDigest(into, at)) into[at] = 1;
  };

  const fingerprints: Digester['fingerprints'] = (data, size, into, first) => {
    for (let from = 0, at = first; from < data.length; from += size, at += DIGEST_BYTES) {
      const cluster = data.subarray(from, from + size);
      if (isZero(cluster)) into.fill(0, at, at + DIGEST_BYTES);
      else digest(cluster, into, at);
    }
  };

  return {
    digest,
    fingerprints,
    scan: ({ fd, offset, length }, piece, size, known, into, first) => {
      let done = 0;
      for (let at = first; done < length; ) {
        const bytes = piece.subarray(0, Math.min(piece.length, length - done));
        if (readAt(fd, bytes, offset + done) < bytes.length) break;
        fingerprints(bytes, size, into, at);
        done += bytes.length;
        const end = at + DIGEST_BYTES * Math.ceil(bytes.length / size);
        if (Buffer.compare(known.subarray(at, end), into.subarray(at, end)) !== 0) break;
        at = end;
      }
      return done;
    },
  };
};

/** True when all bytes are zero: the first is, and each is as the one before. */
const isZero = (bytes: Buffer): boolean =>
  bytes[0] === 0 && bytes.compare(bytes, 1, bytes.length, 0, bytes.length - 1) === 0;

/** Opens a digester. */
export const openDigester = ({ algorithm, seed }: DigestOptions): Digester =>
  algorithm === 'blake3' ? openBlake3(seed) : openXxh3(seed);

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
