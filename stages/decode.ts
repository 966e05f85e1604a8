// decode: turns payloads back into clusters.

import { fault, reasonOf } from '../disk/index.js';
import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';
import { type CodecOptions, openCodec } from './codec/index.js';

/** Only a batch with a payload has anything to decode. */
export const hasPayload = (batch: Batch): boolean =>
  batch.kinds.subarray(0, batch.count).includes(Kind.packed);

const open = async (options: CodecOptions, { clusterSize }: Desk): Promise<StageThread> => {
  const codec = await openCodec(options, clusterSize);
  return {
    batch(batch: Batch): void {
      for (let i = 0; i < batch.count; i += 1) {
        if (batch.kinds[i] !== Kind.packed) continue;
        const start = batch.starts[i] as number;
        const payload = batch.packed.subarray(start, start + (batch.lengths[i] as number));
        try {
          codec.decode(payload, batch.cluster(i));
        } catch (error) {
          throw fault('payload-damaged', {
            offset: batch.offset + i * clusterSize,
            codec: options.codec,
            reason: reasonOf(error),
          });
        }
      }
    },
  };
};

export default stage({ name: 'decode', open });
