// The digests that go out with an exported snapshot: the store's own, unless a stage has their key, which is not for a
// stream. Then they are made anew, with a seed that the stream names.

import { DIGEST_BYTES, type DigestOptions, openDigester } from '../disk/index.js';
import { Kind, type MainStep } from '../pipeline/index.js';
import type { Store } from '../qcow2/index.js';
import { digestOptionsOf, isKeyed } from './plugged.js';
import { DEFAULT_DIGEST, SEED_BYTES } from './store.js';

export interface SentDigests {
  readonly digests: DigestOptions;
  /** What makes them, after the clusters are plain. */
  readonly steps: readonly MainStep[];
}

const redigest = (digests: DigestOptions): MainStep => {
  const digester = openDigester(digests);
  return {
    name: 'redigest',
    main: (batch) => {
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        if (batch.kinds[i] !== Kind.plain) continue;
        digester.digest(batch.content(i), batch.known, i * DIGEST_BYTES);
      }
    },
  };
};

export const sentDigests = async (store: Store): Promise<SentDigests> => {
  if (!store.facts || !isKeyed(store.facts)) return { digests: digestOptionsOf(store), steps: [] };
  const { randomBytes } = await import('node:crypto');
  const digests: DigestOptions = { algorithm: DEFAULT_DIGEST, seed: randomBytes(SEED_BYTES) };
  return { digests, steps: [redigest(digests)] };
};
