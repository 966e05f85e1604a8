// scan: anything may have changed. The default, and what every other source falls back to.

import type { DirtySource } from './source.js';

export const scanSource: DirtySource = {
  name: 'scan',
  certainty: 'superset',
  begin: async (image) => ({
    id: '',
    extents: () => (image.size === 0 ? [] : [{ start: 0, end: image.size }]),
    commit: async () => {},
    dispose: async () => {},
  }),
};
