import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Has what is written in C in a copy of the house compiled without optimization: in a second instead of four. */
export const compileQuickly = (copy: string): void => {
  const path = join(copy, 'binding.gyp');
  const text = readFileSync(path, 'utf8');
  if (!text.includes('"-O3"')) throw new Error(`${path} says nothing of -O3`);
  writeFileSync(path, text.replace('"-O3"', '"-O0"'));
};
