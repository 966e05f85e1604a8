// nvsnap convert STORE OUTPUT

import { formatSize } from '../disk/index.js';
import { type ConvertOptions, type ConvertResult, convert } from '../snapshot/index.js';
import type { Screen } from './screen.js';
import { withSignals } from './stop.js';

const words = (r: ConvertResult): string => {
  const count = r.snapshots.length;
  const checked = r.verified ? 'every byte verified' : 'not verified (no digests)';
  return (
    `Converted ${count} ${count === 1 ? 'snapshot' : 'snapshots'} of ${r.store} to ${r.output} ` +
    `(${r.compression}, clusters of ${formatSize(r.clusterSize)}): ${formatSize(r.storeBytes)} became ` +
    `${formatSize(r.outputBytes)}, ${checked}, in ${(r.elapsedMs / 1000).toFixed(2)} s.`
  );
};

export default async (
  [store = '', output = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { snapshot, ...rest } = options as { snapshot?: readonly string[] };
  const asked = rest as Omit<ConvertOptions, 'store' | 'output' | 'snapshots'>;
  const r = await withSignals((signal) =>
    convert({ ...asked, store, output, snapshots: snapshot, events: screen.events(), signal }),
  );
  screen.result(r, words);
  return 0;
};
