// nvsnap prune STORE --keep-last N …

import { formatSize } from '../disk/index.js';
import {
  KEEP_RULES,
  type KeepPolicy,
  leakNotice,
  type PruneResult,
  prune,
} from '../snapshot/index.js';
import { columns, type Screen } from './screen.js';

/** The options --keep-last and so on, as a policy. */
const policyOf = (options: Record<string, unknown>): KeepPolicy =>
  Object.fromEntries(
    KEEP_RULES.map((rule) => [
      rule,
      options[`keep${rule.charAt(0).toUpperCase()}${rule.slice(1)}`] as number | undefined,
    ]),
  );

const words = (r: PruneResult): string => {
  const rows = [
    ...r.kept.map(({ id, tag, rules }) => ['keep', `#${id}`, tag, rules.join(', ')]),
    ...r.removed.map(({ id, tag }) => ['remove', `#${id}`, tag, '']),
  ];
  const count = `${r.removed.length} of ${r.removed.length + r.kept.length} snapshots`;
  const end = r.dryRun
    ? `Would remove ${count}; nothing was changed.`
    : `Removed ${count}: ${formatSize(r.freedBytes)} freed.`;
  return `${columns(['', 'ID', 'TAG', 'KEPT AS'], rows, [])}\n${end}`;
};

export default async (
  [store = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { dryRun, punch } = options as { dryRun?: boolean; punch?: boolean };
  const r = await prune({ store, keep: policyOf(options), dryRun, punch });
  const leak = leakNotice(r.leaked);
  if (leak) screen.notice(leak);
  screen.result(r, words);
  return 0;
};
