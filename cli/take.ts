// nvsnap take IMAGE STORE, or take --jobs FILE

import { fault, formatSize } from '../disk/index.js';
import { type TakeOptions, type TakeResult, take } from '../snapshot/index.js';
import { formatSeconds, type Screen } from './screen.js';
import { withSignals } from './stop.js';

const sentence = (r: TakeResult): string => {
  const rate = r.elapsedMs > 0 ? `, ${formatSize((r.imageBytes / r.elapsedMs) * 1000)}/s` : '';
  const kind = r.parent === null ? 'complete' : `on ${r.parent}`;
  return (
    `Took snapshot ${r.tag} (#${r.id}, ${kind}) of ${formatSize(r.imageBytes)} in ` +
    `${r.elapsedMs < 10_000 ? `${(r.elapsedMs / 1000).toFixed(2)} s` : formatSeconds(r.elapsedMs / 1000)}${rate}: ` +
    `${r.changedClusters} ${r.changedClusters === 1 ? 'cluster' : 'clusters'} changed, ${formatSize(r.storedBytes)} stored.`
  );
};

export default async (
  words: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  // Loaded only for those who need it: it has a parser for its files.
  if (options.jobs !== undefined)
    return (await import('./bulk.js')).default(words, options, screen);
  const [image, store] = words;
  if (image === undefined || store === undefined) {
    throw fault('usage', {
      problem: `Missing required argument '${image === undefined ? 'image' : 'store'}'.`,
      advice: 'Name an image and its store, or a file of jobs with --jobs.',
    });
  }
  const asked = options as Omit<TakeOptions, 'image' | 'store'>;
  const result = await withSignals((signal) =>
    take({ ...asked, image, store, events: screen.events(), signal }),
  );
  screen.result(result, () => sentence(result));
  return 0;
};
