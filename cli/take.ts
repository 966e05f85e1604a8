// nvsnap take IMAGE STORE, or take --jobs FILE

import { fault, formatSize } from '../disk/index.js';
import { type TakeOptions, type TakeResult, take } from '../snapshot/index.js';
import { type Screen, shortTime } from './screen.js';
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

const sentence = (r: TakeResult): string => {
  const rate = r.elapsedMs > 0 ? `, ${formatSize((r.imageBytes / r.elapsedMs) * 1000)}/s` : '';
  const kind = r.parent === null ? 'complete' : `on ${r.parent}`;
  return (
    `Took snapshot ${r.tag} (#${r.id}, ${kind}) of ${formatSize(r.imageBytes)} in ` +
    `${shortTime(r.elapsedMs)}${rate}: ` +
    `${r.changedClusters} ${r.changedClusters === 1 ? 'cluster' : 'clusters'} changed, ${formatSize(r.storedBytes)} stored.` +
    dirtyWords(r)
  );
};

/** What the user's stages have found out, a line each. */
const summaryLines = ({ summaries }: TakeResult): string[] =>
  summaries.flatMap(({ stage, figures }) => {
    const words = Object.entries(figures).map(([name, figure]) => `${name} ${figure}`);
    return words.length === 0 ? [] : [`${stage}: ${words.join(', ')}.`];
  });

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
  screen.result(result, (r) => [sentence(r), ...summaryLines(r)].join('\n'));
  return 0;
};
