// compress: encodes each changed cluster into the slab's payload area, one after another; a cluster
// that does not get smaller stays plain.

import { type Batch, type Desk, Kind, type StageThread, stage } from '../pipeline/index.js';
import { type CodecOptions, openCodec } from './codec/index.js';

const open = async (options: CodecOptions, { clusterSize }: Desk): Promise<StageThread> => {
  const codec = await openCodec(options, clusterSize);
  return {
    batch(batch: Batch): void | Promise<void> {
      let at = 0;
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        if (batch.kinds[i] !== Kind.plain) continue;
        // The payload must be smaller than the cluster (qcow2's rule and the point of it all).
        const length = codec.encode(
          batch.cluster(i),
          batch.packed.subarray(at, at + clusterSize - 1),
        );
        if (length === 0) continue;
        batch.kinds[i] = Kind.packed;
        batch.starts[i] = at;
        batch.lengths[i] = length;
        at += length;
      }
      return codec.settle?.();
    },
  };
};

export default stage({ name: 'compress', open });
