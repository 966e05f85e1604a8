// Places in a file for what is to be stored, without an allocator: each batch has as much room as the image has bytes.

import { type Batch, Kind } from '../../pipeline/index.js';

export const giveSpace = (batch: Batch): void => {
  const { clusterSize } = batch.layout;
  for (let i = 0; i < batch.count; i += 1) {
    const from = batch.kinds[i] === Kind.packed ? (batch.starts[i] as number) : i * clusterSize;
    batch.places[i] = batch.offset + from;
  }
};
