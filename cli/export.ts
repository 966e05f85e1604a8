// nvsnap export STORE SNAPSHOT > STREAM

import { isatty } from 'node:tty';
import { formatSize } from '../disk/index.js';
import { type ExportOptions, type ExportResult, exportSnapshot, Fault } from '../snapshot/index.js';
import { standardError } from './output.js';
import type { Screen } from './screen.js';
import { withSignals } from './stop.js';

const STDOUT_FD = 1;

const words = (r: ExportResult): string =>
  `Exported ${r.tag} of ${r.store}${r.since === null ? '' : ` since ${r.since}`}: ${r.clusters} clusters, ` +
  `${formatSize(r.streamBytes)}, every byte verified, in ${(r.elapsedMs / 1000).toFixed(2)} s.`;

export default async (
  [store = '', snapshot = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  if (isatty(STDOUT_FD)) {
    const details = {
      problem: 'The stream would go to a terminal.',
      advice: 'Redirect standard output to a file, or to "nvsnap import".',
    };
    throw new Fault({ code: 'usage', details });
  }
  const asked = options as Omit<ExportOptions, 'store' | 'snapshot' | 'fd'>;
  const r = await withSignals((signal) =>
    exportSnapshot({ ...asked, store, snapshot, fd: STDOUT_FD, events: screen.events(), signal }),
  );
  screen.result(r, words, standardError);
  return 0;
};
