// nvsnap vm resume --qmp SOCKET DIR TAG

import { formatSize } from '../disk/index.js';
import { type ResumeOptions, resumePoint } from '../vm/index.js';
import { type Screen, shortTime } from './screen.js';
import { withSignals } from './stop.js';
import { machineEvents } from './vm-events.js';

export default async (
  [stores = '', tag = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as unknown as Omit<ResumeOptions, 'stores' | 'tag'>;
  const events = machineEvents(screen, 'compare');
  const result = await withSignals((signal) =>
    resumePoint({ ...asked, stores, tag, events, signal }),
  );
  screen.result(
    result,
    (r) =>
      `The machine at ${r.address} goes on from ${r.tag}: ${formatSize(r.comparedBytes)} of memory compared, ` +
      `${formatSize(r.stateBytes)} of device state loaded, in ${shortTime(r.elapsedMs)}; it is ${r.status}.`,
  );
  return 0;
};
