// nvsnap take IMAGE STORE

import { formatSize } from '../disk/index.js';
import { type TakeOptions, type TakeResult, take } from '../snapshot/index.js';
import { formatSeconds, type Screen } from './screen.js';
import { withSignals } from './stop.js';

const words = (r: TakeResult): string => {
  const rate = r.elapsedMs > 0 ? `, ${formatSize((r.imageBytes / r.elapsedMs) * 1000)}/s` : '';
  const kind = r.parent === null ? 'complete' : `on ${r.parent}`;
  return (
    `Took snapshot ${r.tag} (#${r.id}, ${kind}) of ${formatSize(r.imageBytes)} in ` +
    `${r.elapsedMs < 10_000 ? `${(r.elapsedMs / 1000).toFixed(2)} s` : formatSeconds(r.elapsedMs / 1000)}${rate}: ` +
    `${r.changedClusters} ${r.changedClusters === 1 ? 'cluster' : 'clusters'} changed, ${formatSize(r.storedBytes)} stored.`
  );
};

export default async (
  [image = '', store = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<TakeOptions, 'image' | 'store'>;
  const result = await withSignals((signal) =>
    take({ ...asked, image, store, events: screen.events(), signal }),
  );
  screen.result(result, () => words(result));
  return 0;
};
