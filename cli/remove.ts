// nvsnap remove STORE SNAPSHOT…

import { formatSize } from '../disk/index.js';
import { leakNotice, type RemoveOptions, remove } from '../snapshot/index.js';
import type { Screen } from './screen.js';

export default async (
  [store = '', ...snapshots]: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<RemoveOptions, 'store' | 'snapshots'>;
  const result = await remove({ ...asked, store, snapshots });
  const leak = leakNotice(result.leaked);
  if (leak) screen.notice(leak);
  screen.result(
    result,
    (r) =>
      `Removed ${r.removed.map(({ tag, id }) => `${tag} (#${id})`).join(', ')} from ${r.store}: ` +
      `${formatSize(r.freedBytes)} freed, ${r.kept} ${r.kept === 1 ? 'snapshot' : 'snapshots'} left.`,
  );
  return 0;
};
