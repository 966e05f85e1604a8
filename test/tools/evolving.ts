// A real file system that changes, for a test.

import type { Test } from 'tap';
import { EvolvingImage, type EvolvingOptions } from '../../bench/index.js';

export { isSound, type Method } from '../../bench/index.js';

/** Makes an evolving image `image` in `folder`, and says in the test's output how it will change. */
export const evolvingImage = (t: Test, folder: string, options: EvolvingOptions): EvolvingImage => {
  const image = new EvolvingImage(folder, options);
  const what = image.withSqlite ? 'SQLite and files' : 'files only, as there is no sqlite3';
  t.comment(`the image changes by ${image.method} (${what})`);
  return image;
};
