// dedup: drops the clusters that the parent has too, and recognises those that became zero.

import { DIGEST_BYTES, isZeroDigest, sameDigest } from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';
import { type DigestOptions, openFingerprint } from './fingerprint.js';

/** A batch whose digests are all the parent's ends here, without a hop. */
export const isUnchanged = (batch: Batch): boolean => {
  const bytes = batch.count * DIGEST_BYTES;
  return batch.digested && batch.digests.subarray(0, bytes).equals(batch.known.subarray(0, bytes));
};

const judge = (batch: Batch, i: number): number => {
  const at = i * DIGEST_BYTES;
  if (sameDigest(batch.digests, at, batch.known, at)) return Kind.same;
  return isZeroDigest(batch.digests, at) ? Kind.zero : Kind.plain;
};

const open = (options: DigestOptions, { clusterSize }: Desk): StageThread => {
  const fingerprint = openFingerprint(options, clusterSize);
  return {
    batch(batch) {
      let live = 0;
      for (let i = 0; i < batch.count; i += 1) {
        if (!batch.digested) fingerprint(batch.content(i), batch.digests, i * DIGEST_BYTES);
        const kind = judge(batch, i);
        batch.kinds[i] = kind;
        if (kind !== Kind.same) live += 1;
      }
      batch.digested = true;
      batch.live = live;
    },
  };
};

export default stage({ name: 'dedup', open });
