// nvsnap vm points DIR, and vm remove DIR TAG…

import { formatSize } from '../disk/index.js';
import { listPoints, type PointInfo, removePoints } from '../vm/index.js';
import { columns, type Screen } from './screen.js';

const row = ({ tag, manifest, problem }: PointInfo): string[] => {
  if (!manifest) return [tag, '-', '-', '-', `not whole: ${problem}`];
  const { takenAt, regions, state, consistent } = manifest;
  const names = regions.map(({ id }) => id).join(', ');
  return [
    tag,
    takenAt.slice(0, 19).replace('T', ' '),
    formatSize(regions.reduce((sum, { bytes }) => sum + bytes, 0)),
    state ? 'yes' : 'no',
    consistent ? names : `${names} (not of one moment)`,
  ];
};

/** The exit code when a point is not whole. */
const DAMAGED = 3;

export default async (
  [stores = '']: readonly string[],
  _options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const points = await listPoints({ stores });
  screen.result(points, (all) =>
    all.length === 0
      ? 'No points.'
      : columns(['POINT', 'DATE (UTC)', 'SIZE', 'STATE', 'REGIONS'], all.map(row), [2]),
  );
  return points.every(({ problem }) => problem === null) ? 0 : DAMAGED;
};

export const remove = async (
  [stores = '', ...tags]: readonly string[],
  _options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { kept } = await removePoints({
    stores,
    tags,
    onNotice: (sentence) => screen.notice(sentence),
  });
  screen.result(
    { removed: [...new Set(tags)], kept },
    ({ removed }) =>
      `Removed ${removed.join(', ')}; ${kept.length} ${kept.length === 1 ? 'point is' : 'points are'} left.`,
  );
  return 0;
};
