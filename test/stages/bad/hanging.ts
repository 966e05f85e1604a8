// A stage that does not come to an end, where it is told.

import { stage } from '../../../pipeline/index.js';

export type Place = 'open' | 'batch' | 'flush' | 'close';

interface Options {
  readonly place: Place;
  /** True to keep the thread busy, false to wait for what never comes. */
  readonly busy: boolean;
}

const hang = (busy: boolean): Promise<never> => {
  while (busy);
  return new Promise(() => {});
};

export default stage<Options>({
  name: 'hanging',
  usage: { place: 'where it hangs', busy: 'whether it is busy meanwhile' },
  parse: ({ place, busy }) => ({ place: place as Place, busy: String(busy) === 'true' }),
  patience: 1,
  open: ({ place, busy }) =>
    place === 'open'
      ? hang(busy)
      : {
          batch: () => (place === 'batch' ? hang(busy) : undefined),
          flush: () => (place === 'flush' ? hang(busy) : undefined),
          close: () => (place === 'close' ? hang(busy) : undefined),
        },
});
