// The fingerprint of a cluster: its digest, or zeros for a cluster of zeros. scan takes it while the
// bytes are still in the processor's cache; whoever finds a batch without one takes it then.

import { DIGEST_BYTES, type DigestAlgorithm, openDigester } from '../disk/index.js';

/** How a store's digests are made; plain data. */
export interface DigestOptions {
  readonly algorithm: DigestAlgorithm;
  /** The store's 8 random bytes. */
  readonly seed: Uint8Array;
}

/** Writes the fingerprint of one cluster's bytes into `into` at byte `at`. */
export type Fingerprint = (content: Buffer, into: Buffer, at: number) => void;

export const openFingerprint = (
  { algorithm, seed }: DigestOptions,
  clusterSize: number,
): Fingerprint => {
  const digester = openDigester(algorithm, seed);
  const zeros = Buffer.alloc(clusterSize);
  return (content, into, at) => {
    const whole = content.length === clusterSize;
    if (content.equals(whole ? zeros : zeros.subarray(0, content.length))) {
      into.fill(0, at, at + DIGEST_BYTES);
    } else digester.digest(content, into, at);
  };
};
