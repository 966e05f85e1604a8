// nvsnap vm take

import { formatSize } from '../disk/index.js';
import { type PointOptions, type PointResult, takePoint } from '../vm/index.js';
import { columns, type Screen, shortTime } from './screen.js';
import { withPatience } from './stop.js';
import { machineEvents } from './vm-events.js';

const pause = ({ pauseMs, consistent }: PointResult): string => {
  if (pauseMs !== null) return `the machine stood still for ${pauseMs.toFixed(1)} ms`;
  return consistent ? 'the machine stood still already' : 'the machine ran on';
};

const words = (r: PointResult): string => {
  const rows = [...r.regions, ...(r.state ? [{ ...r.state, region: 'device state' }] : [])];
  return [
    columns(
      ['REGION', 'SIZE', 'ON', 'CHANGED', 'STORED'],
      rows.map(({ region, imageBytes, parent, changedClusters, storedBytes }) => [
        region,
        formatSize(imageBytes),
        parent ?? '-',
        String(changedClusters),
        formatSize(storedBytes),
      ]),
      [1, 3, 4],
    ),
    `Took point ${r.tag} in ${shortTime(r.elapsedMs)}, ${formatSize(r.storedBytes)} stored; ${pause(r)}.`,
  ].join('\n');
};

export default async (
  _args: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { maxPause, ...asked } = options as unknown as PointOptions & { maxPause?: number };
  const events = machineEvents(screen, 'take');
  const maxPauseMs = maxPause === undefined ? undefined : maxPause * 1000;
  // A signal ends the run, but the machine goes on first.
  const result = await withPatience((signal) =>
    takePoint({ ...asked, maxPauseMs, events, signal }),
  );
  screen.result(result, words);
  return 0;
};
