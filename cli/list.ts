// nvsnap list STORE

import { formatSize } from '../disk/index.js';
import { list, type SnapshotInfo } from '../snapshot/index.js';
import { columns, type Screen } from './screen.js';

const row = (s: SnapshotInfo): string[] => [
  `#${s.id}`,
  s.tag,
  s.date.slice(0, 19).replace('T', ' '),
  formatSize(s.imageBytes),
  s.storedBytes === null ? '?' : formatSize(s.storedBytes),
  s.parent ?? '-',
];

export default async (
  [store = '']: readonly string[],
  _options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const snapshots = await list({ store });
  screen.result(snapshots, (all) =>
    all.length === 0
      ? 'No snapshots.'
      : columns(['ID', 'TAG', 'DATE (UTC)', 'SIZE', 'STORED', 'PARENT'], all.map(row), [3, 4]),
  );
  return 0;
};
