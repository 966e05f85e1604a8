// nvsnap restore STORE SNAPSHOT OUTPUT

import { formatSize } from '../disk/index.js';
import { type RestoreOptions, restore } from '../snapshot/index.js';
import type { Screen } from './screen.js';
import { withSignals } from './stop.js';

export default async (
  [store = '', snapshot = '', output = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<RestoreOptions, 'store' | 'snapshot' | 'output'>;
  const r = await withSignals((signal) =>
    restore({ ...asked, store, snapshot, output, events: screen.events(), signal }),
  );
  screen.result(
    r,
    () =>
      `Restored ${r.tag} (#${r.id}) to ${r.output}: ${formatSize(r.imageBytes)}, of which ` +
      `${formatSize(r.dataBytes)} data, ${r.verified ? 'every byte verified' : 'not verified (no digests)'}, ` +
      `in ${(r.elapsedMs / 1000).toFixed(2)} s.`,
  );
  return 0;
};
