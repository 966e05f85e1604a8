// deliver: writes verified clusters to the output. Zeros are left as holes where the output begins
// empty, and written where it may hold something else.

import { attachFile, type File, type FileSpec } from '../disk/index.js';
import { type Batch, Kind, stage } from '../pipeline/index.js';

export interface DeliverOptions {
  readonly output: FileSpec;
  /** True when the output reads as zeros wherever nothing is written. */
  readonly sparse: boolean;
}

/** Zeros inside stored data become holes in units of this, or of a cluster if that is smaller. */
const HOLE_BYTES = 64 * 1024;

/** Calls `emit` for each run of image bytes [from, to) of the batch that has to be written. */
const runsOf = (
  batch: Batch,
  unit: number,
  keep: (i: number, bytes: Buffer) => boolean,
): Array<[number, number]> => {
  const { clusterSize } = batch.layout;
  const runs: Array<[number, number]> = [];
  let from = -1;
  for (let at = 0; at < batch.length; at += unit) {
    const bytes = batch.data.subarray(at, Math.min(at + unit, batch.length));
    if (keep(Math.floor(at / clusterSize), bytes)) {
      if (from < 0) from = at;
    } else if (from >= 0) {
      runs.push([from, at]);
      from = -1;
    }
  }
  if (from >= 0) runs.push([from, batch.length]);
  return runs;
};

const open = ({ output, sparse }: DeliverOptions) => {
  const file: File = attachFile(output);
  const zeros = Buffer.alloc(HOLE_BYTES);
  return {
    batch(batch: Batch): void {
      const { clusterSize } = batch.layout;
      if (!sparse) {
        for (let i = 0; i < batch.count; i += 1)
          if (batch.kinds[i] === Kind.zero) batch.cluster(i).fill(0);
      }
      const wanted = (i: number, bytes: Buffer): boolean =>
        !sparse || (batch.kinds[i] !== Kind.zero && !bytes.equals(zeros.subarray(0, bytes.length)));
      for (const [from, to] of runsOf(batch, Math.min(HOLE_BYTES, clusterSize), wanted)) {
        file.write(batch.data.subarray(from, to), batch.offset + from);
      }
    },
  };
};

export default stage<DeliverOptions>({ name: 'deliver', open });
