// Random samples that can be drawn again: the same for the same seed.

import { randomFrom } from '../disk/index.js';

/**
 * `count` of the whole numbers below `limit` (below 2^32), each set of so many as likely as any other, in ascending
 * order: Robert Floyd's algorithm (Bentley, "A sample of brilliance", CACM 30:9, 1987).
 */
export const sampleBelow = (limit: number, count: number, seed: number): Float64Array => {
  if (count >= limit) return Float64Array.from({ length: limit }, (_, i) => i);
  const random = randomFrom(seed);
  const chosen = new Set<number>();
  for (let j = limit - count; j < limit; j += 1) {
    const pick = Math.floor(random() * (j + 1));
    chosen.add(chosen.has(pick) ? j : pick);
  }
  return Float64Array.from(chosen).sort();
};
