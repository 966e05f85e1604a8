// nvsnap restore STORE SNAPSHOT OUTPUT

import { formatSize } from '../disk/index.js';
import { type RestoreOptions, type RestoreResult, restore } from '../snapshot/index.js';
import { standardError, standardOutput } from './output.js';
import { rangeLines, type Screen } from './screen.js';
import { withSignals } from './stop.js';

/** The exit code when damage was left out. */
const DAMAGED = 3;
const STDOUT = '-';

const moved = (r: RestoreResult): string => {
  if (r.changedBytes === null) {
    return `${formatSize(r.range.length)}, of which ${formatSize(r.dataBytes)} data`;
  }
  const verb = r.dryRun ? 'would change' : 'changed';
  return `${formatSize(r.changedBytes)} of ${formatSize(r.range.length)} ${verb}`;
};

const words = (r: RestoreResult): string => {
  const time = `in ${(r.elapsedMs / 1000).toFixed(2)} s.`;
  const name = `${r.tag} (#${r.id}) to ${r.output === STDOUT ? 'standard output' : r.output}`;
  if (r.dryRun) return `Nothing was written. Restoring ${name}: ${moved(r)}, found out ${time}`;
  const checked = r.verified ? 'every byte verified' : 'not verified (no digests)';
  const lines = [`Restored ${name}: ${moved(r)}, ${checked}, ${time}`];
  if (r.badBytes > 0) {
    const where = r.badList === null ? '' : ` They are listed in ${r.badList}.`;
    lines.push(
      ...rangeLines({ rangeCount: r.badRanges.length, ranges: r.badRanges }),
      `${formatSize(r.badBytes)} are damaged in the store and were left out.${where}`,
    );
  }
  return lines.join('\n');
};

export default async (
  [store = '', snapshot = '', output = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<RestoreOptions, 'store' | 'snapshot' | 'output'>;
  const r = await withSignals((signal) =>
    restore({ ...asked, store, snapshot, output, events: screen.events(), signal }),
  );
  screen.result(r, words, output === STDOUT ? standardError : standardOutput);
  return r.badBytes === 0 ? 0 : DAMAGED;
};
