// nvsnap check STORE

import { formatSize } from '../disk/index.js';
import { type CheckOptions, type CheckResult, check } from '../snapshot/index.js';
import type { Screen } from './screen.js';
import { withSignals } from './stop.js';

const DAMAGE_FOUND = 3;

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

const words = (r: CheckResult): string => {
  const shown = r.findings.map(({ kind, message }) => `${kind}: ${message}`);
  const rest = r.corruptions + r.leaks + r.notes - shown.length;
  const size = `${plural(r.snapshots, 'snapshot')}, ${r.allocatedClusters} of ${r.clusters} clusters in use, ${formatSize(r.fileBytes)}`;
  const verdict =
    r.corruptions + r.leaks === 0
      ? 'The structure is sound.'
      : `Damage found: ${plural(r.corruptions, 'corruption')}, ${plural(r.leaks, 'leak')}.`;
  return [...shown, ...(rest > 0 ? [`… and ${rest} more`] : []), `${size}.`, verdict].join('\n');
};

export default async (
  [store = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { stages } = options as Pick<CheckOptions, 'stages'>;
  const result = await withSignals((signal) => check({ store, stages, signal }));
  screen.result(result, words);
  return result.corruptions + result.leaks === 0 ? 0 : DAMAGE_FOUND;
};
