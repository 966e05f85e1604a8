// pad: completes a run that does not end on a cluster boundary with zeros, so that what is stored is
// always whole clusters and never shows what the slab held before.

import { type Batch, Kind, stage } from '../pipeline/index.js';

/** Only a batch with a short tail has anything to pad. */
export const needsPadding = (batch: Batch): boolean =>
  batch.length % batch.layout.clusterSize !== 0;

export default stage({
  name: 'pad',
  summary: 'fills up the last cluster of an image with zeros',
  open: () => ({
    batch(batch) {
      const last = batch.count - 1;
      if (batch.kinds[last] !== Kind.same) batch.cluster(last).fill(0, batch.lengthOf(last));
    },
  }),
});
