// The word that was probably meant.

/** More slips than this, and it is another word: a third of its letters, and two of a short one. */
const mostSlips = (word: string): number => Math.max(2, Math.floor(word.length / 3));

/** A longer word is nobody's slip; it keeps the comparison short. */
const MAX_LENGTH = 64;

/** Letters to insert, leave out, replace or swap to make one word of the other (optimal string alignment). */
const slips = (a: string, b: string): number => {
  let older: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        (last[j] as number) + 1,
        (row[j - 1] as number) + 1,
        (last[j - 1] as number) + (same ? 0 : 1),
        swapped ? (older[j - 2] as number) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    older = last;
    last = row;
  }
  return last[b.length] as number;
};

/** The nearest of the known words, if one is near; letter case and hyphens do not count. */
export const nearest = (word: string, known: readonly string[]): string | undefined => {
  if (word.length > MAX_LENGTH) return undefined;
  const plain = (text: string): string => text.toLowerCase().replace(/[-_]/g, '');
  const ranked = known
    .map((candidate) => ({ candidate, distance: slips(plain(word), plain(candidate)) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= mostSlips(best.candidate) ? best.candidate : undefined;
};
