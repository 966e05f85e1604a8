// nvsnap import STORE < STREAM

import { formatSize } from '../disk/index.js';
import { type ImportOptions, type ImportResult, importSnapshot } from '../snapshot/index.js';
import type { Screen } from './screen.js';
import { withSignals } from './stop.js';

const STDIN_FD = 0;

const words = (r: ImportResult): string =>
  `Imported ${r.tag} (#${r.id}, ${r.parent === null ? 'complete' : `on ${r.parent}`}) into ${r.store}: ` +
  `${r.clusters} clusters, ${formatSize(r.storedBytes)} stored, every byte verified, in ` +
  `${(r.elapsedMs / 1000).toFixed(2)} s.`;

export default async (
  [store = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<ImportOptions, 'store' | 'fd'>;
  const r = await withSignals((signal) =>
    importSnapshot({ ...asked, store, fd: STDIN_FD, events: screen.events(), signal }),
  );
  screen.result(r, words);
  return 0;
};
