// verify: holds every cluster against the digest recorded when it was taken. Nothing goes on that
// does not match: a flipped bit anywhere on the way ends the run, naming the place.

import { DIGEST_BYTES, fault, isZeroDigest, openDigester, sameDigest } from '../disk/index.js';
import { type Batch, Kind, type StageThread, stage } from '../pipeline/index.js';
import type { DigestOptions } from './fingerprint.js';

const open = ({ algorithm, seed }: DigestOptions): StageThread => {
  const digester = openDigester(algorithm, seed);

  const matches = (batch: Batch, i: number): boolean => {
    const at = i * DIGEST_BYTES;
    if (batch.kinds[i] === Kind.zero) return isZeroDigest(batch.known, at);
    digester.digest(batch.content(i), batch.digests, at);
    return sameDigest(batch.digests, at, batch.known, at);
  };

  return {
    batch(batch) {
      for (let i = 0; i < batch.count; i += 1) {
        if (matches(batch, i)) continue;
        throw fault('digest-mismatch', {
          offset: batch.offset + i * batch.layout.clusterSize,
          length: batch.lengthOf(i),
        });
      }
    },
  };
};

export default stage({ name: 'verify', open });
