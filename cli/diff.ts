// nvsnap diff STORE FROM [TO]

import { formatSize } from '../disk/index.js';
import { type DiffOptions, type DiffResult, diff } from '../snapshot/index.js';
import { rangeLines, type Screen } from './screen.js';

const words = (r: DiffResult): string => {
  const lines = rangeLines(r);
  const sizes =
    r.fromBytes === r.toBytes
      ? ''
      : `; the image went from ${formatSize(r.fromBytes)} to ${formatSize(r.toBytes)}`;
  const what = r.exact ? 'differ' : 'may differ (no digests to tell)';
  const where = `${r.rangeCount} ${r.rangeCount === 1 ? 'range' : 'ranges'}`;
  lines.push(
    r.rangeCount === 0
      ? `${r.from} and ${r.to} are equal${sizes}.`
      : `${r.from} and ${r.to} ${what} in ${formatSize(r.changedBytes)}, ${where}${sizes}.`,
  );
  return lines.join('\n');
};

export default async (
  [store = '', from = '', to]: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { stages } = options as Pick<DiffOptions, 'stages'>;
  const r = await diff({ store, from, to, stages });
  screen.result(r, words);
  return 0;
};
