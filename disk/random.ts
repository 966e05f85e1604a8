// Random numbers that can be drawn again: the same for the same seed.

const TWO_32 = 2 ** 32;

/** Numbers in [0, 1) from a seed below 2^32, by mulberry32 (Tommy Ettinger, public domain). */
export const randomFrom = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / TWO_32;
  };
};
