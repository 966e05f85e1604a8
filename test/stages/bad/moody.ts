// A filter that holds what the engine can see of the contract, and breaks the rest of it in one way, as it is told.

import { stage } from '../../../pipeline/index.js';

const WAYS = [
  'well',
  'fills with noise',
  'counts its batches',
  'closes only what was flushed',
  'has options that cannot be sent',
  'concludes what is no figure',
] as const;
export type Way = (typeof WAYS)[number];

interface Options {
  readonly way: Way;
  readonly more: unknown;
}

let conclusion = 1;

export default stage<Options>({
  name: 'moody',
  usage: { way: 'what it does' },
  at: ['before:dedup'],
  changes: true,
  parse: ({ way }) => {
    if (!WAYS.includes(way as Way)) throw new Error('it needs way=WAY');
    conclusion = way === 'concludes what is no figure' ? Number.NaN : 1;
    const more = way === 'has options that cannot be sent' ? () => {} : undefined;
    return { way: way as Way, more };
  },
  open({ way }) {
    let flushed = false;
    let batches = 0;
    return {
      batch(batch) {
        const cluster = batch.content(0);
        batches += 1;
        if (way === 'fills with noise') cluster.writeDoubleLE(Math.random(), 0);
        if (way === 'counts its batches') cluster[0] = batches;
      },
      flush() {
        flushed = true;
      },
      close() {
        if (way === 'closes only what was flushed' && !flushed) throw new Error('not flushed');
      },
    };
  },
  conclude: () => ({ figure: conclusion }),
});
