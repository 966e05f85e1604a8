// dedup: drops the clusters that the parent has too, and recognises those that became zero.

import { DIGEST_BYTES, type DigestOptions, isZeroDigest, openDigester } from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';

/** A batch whose digests are all the parent's ends here, without a hop. */
export const isUnchanged = (batch: Batch): boolean =>
  batch.digested && batch.isKnown(0, batch.count);

/** Judges clusters [from, to) by halving, since most are the parent's; returns how many are not. */
const judge = (batch: Batch, from: number, to: number): number => {
  if (from === to) return 0;
  if (batch.isKnown(from, to)) {
    batch.kinds.fill(Kind.same, from, to);
    return 0;
  }
  if (to - from === 1) {
    batch.kinds[from] = isZeroDigest(batch.digests, from * DIGEST_BYTES) ? Kind.zero : Kind.plain;
    return 1;
  }
  const middle = (from + to) >>> 1;
  return judge(batch, from, middle) + judge(batch, middle, to);
};

const open = (digests: DigestOptions, { clusterSize }: Desk): StageThread => {
  const digester = openDigester(digests);

  const digest = (batch: Batch): void => {
    for (let i = 0; i < batch.count; i += 1) {
      digester.fingerprints(batch.content(i), clusterSize, batch.digests, i * DIGEST_BYTES);
    }
    batch.digested = true;
  };

  return {
    batch(batch) {
      if (!batch.digested) digest(batch);
      batch.live = judge(batch, 0, batch.count);
    },
  };
};

export default stage({
  name: 'dedup',
  summary: 'drops what the parent has too, and finds what became zero',
  open,
});
