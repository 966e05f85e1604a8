// verify: holds every cluster against the digest recorded when it was taken. Nothing goes on that
// does not match: a flipped bit anywhere on the way ends the run, naming the place, or is marked as damage.

import {
  DIGEST_BYTES,
  type DigestOptions,
  fault,
  isZeroDigest,
  openDigester,
  sameDigest,
} from '../disk/index.js';
import { type Batch, Kind, type StageThread, stage } from '../pipeline/index.js';

export interface VerifyOptions extends DigestOptions {
  /** True to mark what does not match as damaged and go on, false to fail. */
  readonly tolerant?: boolean | undefined;
}

const open = (options: VerifyOptions): StageThread => {
  const { tolerant } = options;
  const digester = openDigester(options);

  const matches = (batch: Batch, i: number): boolean => {
    const at = i * DIGEST_BYTES;
    if (batch.kinds[i] === Kind.damaged) return false;
    if (batch.kinds[i] === Kind.zero) return isZeroDigest(batch.known, at);
    digester.digest(batch.content(i), batch.digests, at);
    return sameDigest(batch.digests, at, batch.known, at);
  };

  return {
    batch(batch) {
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        if (matches(batch, i)) continue;
        if (!tolerant) {
          throw fault('digest-mismatch', {
            offset: batch.offset + i * batch.layout.clusterSize,
            length: batch.lengthOf(i),
          });
        }
        batch.kinds[i] = Kind.damaged;
      }
    },
  };
};

export default stage({
  name: 'verify',
  summary: 'holds every cluster against its digest',
  open,
});
