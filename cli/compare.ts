// nvsnap compare STORE SNAPSHOT IMAGE

import { formatSize } from '../disk/index.js';
import { type CompareOptions, type CompareResult, compare } from '../snapshot/index.js';
import { rangeLines, type Screen } from './screen.js';
import { withSignals } from './stop.js';

/** The exit code when they differ. */
const DIFFERS = 3;

const words = (r: CompareResult): string => {
  if (r.equal) return `${r.tag} and ${r.image} are equal: ${formatSize(r.imageBytes)}.`;
  const sizes =
    r.snapshotBytes === r.imageBytes
      ? ''
      : `; ${r.tag} has ${r.snapshotBytes} bytes, ${r.image} ${r.imageBytes}`;
  const where = `${r.rangeCount} ${r.rangeCount === 1 ? 'range' : 'ranges'}`;
  return [
    ...rangeLines(r),
    `${r.tag} and ${r.image} differ in ${formatSize(r.differentBytes)}, ${where}${sizes}.`,
  ].join('\n');
};

export default async (
  [store = '', snapshot = '', image = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const asked = options as Omit<CompareOptions, 'store' | 'snapshot' | 'image'>;
  const r = await withSignals((signal) =>
    compare({ ...asked, store, snapshot, image, events: screen.events(), signal }),
  );
  screen.result(r, words);
  return r.equal ? 0 : DIFFERS;
};
