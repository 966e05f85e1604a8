// Looking for bytes where there should be none.

import { setImmediate as turn } from 'node:timers/promises';
import { dataExtents, type Extent, type File, MiB } from '../disk/index.js';

/**
 * The pieces of [start, end) of a file or device that do not read as zeros, in order: `step` bytes each, on
 * multiples of `step`. Holes are skipped, and the event loop gets a turn now and then.
 */
export async function* nonZeroPieces(
  file: File,
  { start, end }: Extent,
  step: number,
): AsyncGenerator<Extent> {
  const bytes = Buffer.alloc(step);
  const zeros = Buffer.alloc(step);
  let looked = 0;
  let next = start;
  for (const extent of dataExtents(file.spec.fd, { start, end })) {
    for (let at = Math.max(next, extent.start); at < Math.min(end, extent.end); at = next) {
      const from = Math.max(start, at - (at % step));
      next = Math.min(end, at - (at % step) + step);
      const got = file.read(bytes.subarray(0, next - from), from);
      if (!bytes.subarray(0, got).equals(zeros.subarray(0, got))) yield { start: from, end: next };
      looked += next - from;
      if (looked >= MiB) {
        looked = 0;
        await turn();
      }
    }
  }
}
