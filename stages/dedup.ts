// dedup: recognises clusters of zeros, digests the others, and drops those that the parent has too.

import {
  DIGEST_BYTES,
  type DigestAlgorithm,
  isZeroDigest,
  openDigester,
  sameDigest,
} from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';

export interface DedupOptions {
  readonly algorithm: DigestAlgorithm;
  readonly seed: Uint8Array;
}

const open = ({ algorithm, seed }: DedupOptions, { clusterSize }: Desk): StageThread => {
  const digester = openDigester(algorithm, seed);
  const zeros = Buffer.alloc(clusterSize);

  /** What becomes of cluster `i`; its digest is set on the way. */
  const judge = (batch: Batch, i: number): number => {
    const at = i * DIGEST_BYTES;
    const content = batch.content(i);
    if (
      content.equals(content.length === clusterSize ? zeros : zeros.subarray(0, content.length))
    ) {
      batch.digests.fill(0, at, at + DIGEST_BYTES);
      return isZeroDigest(batch.known, at) ? Kind.same : Kind.zero;
    }
    digester.digest(content, batch.digests, at);
    return sameDigest(batch.digests, at, batch.known, at) ? Kind.same : Kind.plain;
  };

  return {
    batch(batch) {
      let live = 0;
      for (let i = 0; i < batch.count; i += 1) {
        const kind = judge(batch, i);
        batch.kinds[i] = kind;
        if (kind !== Kind.same) live += 1;
      }
      batch.live = live;
    },
  };
};

export default stage({ name: 'dedup', open });
