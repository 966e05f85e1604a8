// Ends every batch but each `keep`th: what dedup does where nothing changed.

import { stage } from '../../../pipeline/index.js';

export default stage<{ readonly keep: number }>({
  name: 'drop',
  open: ({ keep }) => ({
    batch(batch) {
      const index = batch.offset / batch.layout.clusterSize / batch.layout.clusters;
      if (index % keep !== 0) batch.live = 0;
    },
  }),
});
