// nvsnap verify STORE [SNAPSHOT…]

import { formatSize } from '../disk/index.js';
import { type VerifyOptions, type VerifyResult, verify } from '../snapshot/index.js';
import type { Screen } from './screen.js';
import { withSignals } from './stop.js';

/** The exit code when damage was found. */
const DAMAGED = 3;
/** Lines of damage that a person is shown. */
const SHOWN = 20;

const words = (r: VerifyResult): string => {
  const lines = r.damage
    .slice(0, SHOWN)
    .map(
      ({ start, length, problem, snapshots }) =>
        `${start}+${length}: ${problem}; in ${snapshots.join(', ')}`,
    );
  if (r.damage.length > SHOWN)
    lines.push(`… and ${r.damage.length - SHOWN} more (--json has them)`);
  if (r.unverifiable.length > 0) {
    const tags = r.unverifiable.join(', ');
    lines.push(`Made by another program and without digests, so read but not proven: ${tags}.`);
  }
  const read = `${r.clusters} stored clusters (${formatSize(r.bytes)} of images) read`;
  const partly = r.complete ? '' : ' (not all of them: the time was over)';
  const found = r.damagedClusters === 0 ? 'no damage' : `${r.damagedClusters} damaged`;
  const count = r.snapshots.length - r.unverifiable.length;
  return [
    ...lines,
    `Verified ${count} ${count === 1 ? 'snapshot' : 'snapshots'} of ${r.store}: ${read}${partly}, ${found}, in ` +
      `${(r.elapsedMs / 1000).toFixed(2)} s.`,
  ].join('\n');
};

export default async (
  [store = '', ...snapshots]: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<VerifyOptions, 'store' | 'snapshots'>;
  const r = await withSignals((signal) =>
    verify({ ...asked, store, snapshots, events: screen.events(), signal }),
  );
  screen.result(r, words);
  return r.damagedClusters === 0 ? 0 : DAMAGED;
};
