// nvsnap vm restore DIR TAG

import { formatSize } from '../disk/index.js';
import {
  type RestoredPoint,
  type RestorePointOptions,
  restorePoint,
  shellLine,
} from '../vm/index.js';
import { type Screen, shortTime } from './screen.js';
import { withSignals } from './stop.js';
import { machineEvents } from './vm-events.js';

const words = (r: RestoredPoint, stores: string): string => {
  const images = r.images.map(({ region, output, imageBytes, changedBytes }) => {
    const changed = changedBytes === null ? '' : `, ${formatSize(changedBytes)} changed`;
    return `${region}: ${output}, ${formatSize(imageBytes)}${changed}`;
  });
  return [
    `Restored point ${r.tag} in ${shortTime(r.elapsedMs)}, every byte verified.`,
    ...images,
    ...(r.state === null ? [] : [`device state: ${r.state}`]),
    ...(r.consistent
      ? []
      : ['The regions were read while the machine ran: they are not of one moment.']),
    '',
    'Start QEMU as it was, with these options for its memory:',
    `  ${shellLine(r.qemuOptions)}`,
    ...(r.resumable
      ? ['Then:', `  ${shellLine(['nvsnap', 'vm', 'resume', '--qmp', 'SOCKET', stores, r.tag])}`]
      : []),
  ].join('\n');
};

export default async (
  [stores = '', tag = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<RestorePointOptions, 'stores' | 'tag'>;
  const events = machineEvents(screen, 'restore');
  const result = await withSignals((signal) =>
    restorePoint({ ...asked, stores, tag, events, signal }),
  );
  screen.result(result, (r) => words(r, stores));
  return 0;
};
