// decode: turns payloads back into clusters, and takes the fingerprints of the batch while its bytes are in
// the processor's cache; verify holds them against the recorded ones.

import { DIGEST_BYTES, fault, reasonOf } from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';
import { type CodecOptions, openCodec } from './codec/index.js';
import { type DigestOptions, openFingerprint } from './fingerprint.js';

/** Only a batch with a payload has anything to decode. */
export const hasPayload = (batch: Batch): boolean => batch.has(Kind.packed);

export interface DecodeOptions extends CodecOptions {
  /** How the store's digests are made; undefined when it has none. */
  readonly digests?: DigestOptions | undefined;
  /** True to mark what cannot be decoded as damaged and go on, false to fail. */
  readonly tolerant?: boolean | undefined;
}

const open = async (options: DecodeOptions, { clusterSize }: Desk): Promise<StageThread> => {
  const codec = await openCodec(options, clusterSize);
  const fingerprint = options.digests && openFingerprint(options.digests, clusterSize);

  /** Digests cluster `i`: zeros for one that is not stored. */
  const digest = (batch: Batch, i: number): void => {
    const at = i * DIGEST_BYTES;
    if (batch.kinds[i] === Kind.zero) batch.digests.fill(0, at, at + DIGEST_BYTES);
    else fingerprint?.(batch.content(i), batch.digests, at);
  };

  const decode = (batch: Batch, i: number): void => {
    const start = batch.starts[i] as number;
    const payload = batch.packed.subarray(start, start + (batch.lengths[i] as number));
    try {
      codec.decode(payload, batch.cluster(i));
    } catch (error) {
      if (options.tolerant) {
        batch.kinds[i] = Kind.damaged;
        return;
      }
      throw fault('payload-damaged', {
        offset: batch.offset + i * clusterSize,
        codec: options.codec,
        reason: reasonOf(error),
      });
    }
  };
  return {
    batch(batch: Batch): void | Promise<void> {
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        if (batch.kinds[i] === Kind.packed) decode(batch, i);
        if (fingerprint && !batch.unproven) digest(batch, i);
      }
      batch.digested = fingerprint !== undefined && !batch.unproven;
      return codec.settle?.();
    },
  };
};

export default stage({ name: 'decode', open });
