// scan: anything may have changed. The default, and what every other source falls back to.

import type { DirtySource } from './source.js';
import type { SourceKind } from './spec.js';

export const scanSource: DirtySource = {
  name: 'scan',
  certainty: 'superset',
  begin: async (image) => ({
    id: '',
    changes: {
      known: true,
      extents: () => (image.size === 0 ? [] : [{ start: 0, end: image.size }]),
    },
    commit: async () => {},
    dispose: async () => {},
  }),
};

export const scanKind: SourceKind = {
  name: 'scan',
  usage: 'scan',
  argument: 'none',
  keys: [],
  open: () => scanSource,
};
