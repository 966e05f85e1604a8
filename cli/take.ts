// nvsnap take IMAGE STORE

import { fault, formatSize } from '../disk/index.js';
import { type TakeOptions, type TakeResult, take } from '../snapshot/index.js';
import { formatSeconds, type Screen } from './screen.js';
import { withSignals } from './stop.js';

/** What the dirty source named; of a full scan there is nothing to say, or it has been said. */
const dirtyWords = ({ parent, dirty }: TakeResult): string => {
  const { source, fallback, candidateBytes, audit } = dirty;
  if (source === 'scan' || parent === null || fallback !== null) return '';
  const audited = audit
    ? `, ${audit.clusters} of ${audit.of} others audited (seed ${audit.seed})`
    : '';
  return ` ${source} named ${formatSize(candidateBytes)}${audited}.`;
};

const words = (r: TakeResult): string => {
  const rate = r.elapsedMs > 0 ? `, ${formatSize((r.imageBytes / r.elapsedMs) * 1000)}/s` : '';
  const kind = r.parent === null ? 'complete' : `on ${r.parent}`;
  return (
    `Took snapshot ${r.tag} (#${r.id}, ${kind}) of ${formatSize(r.imageBytes)} in ` +
    `${r.elapsedMs < 10_000 ? `${(r.elapsedMs / 1000).toFixed(2)} s` : formatSeconds(r.elapsedMs / 1000)}${rate}: ` +
    `${r.changedClusters} ${r.changedClusters === 1 ? 'cluster' : 'clusters'} changed, ${formatSize(r.storedBytes)} stored.` +
    dirtyWords(r)
  );
};

export default async (
  [image = '', store = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { trust, ...asked } = options as Omit<TakeOptions, 'image' | 'store'> & { trust?: boolean };
  if (trust && asked.audit !== undefined) {
    throw fault('usage', {
      problem: '--trust and --audit exclude each other.',
      advice: 'Leave one of them out.',
    });
  }
  const audit = trust ? 0 : asked.audit;
  const result = await withSignals((signal) =>
    take({ ...asked, audit, image, store, events: screen.events(), signal }),
  );
  screen.result(result, () => words(result));
  return 0;
};
