// The marks are a property of the process: whoever clears them clears them for all. Other users of nvsnap keep their
// state where we cannot see it, and CRIU or a person at a shell keep none. So after each clearing one page is marked
// that the process itself never writes, one of its program's own. When next time exactly this one of them has the
// mark, nobody has cleared anything since.
//
// A page is marked by writing to it what is there, as a debugger does: the process gets a copy of it, 4 KiB. It is one
// of a few, so that it does not become many copies, and another one each time, so that somebody else who does the same
// is noticed.

import fs from 'node:fs';
import { PAGE_BYTES } from '../../disk/index.js';
import { markedPages, type Pages } from './pagemap.js';
import type { Mapped } from './process.js';

const MAX_PAGES = 64;

/** The first pages of the program: private, from a file, never written. */
export const canaryPages = (maps: readonly Mapped[]): Pages | undefined => {
  const program = maps.find(({ rights, file }) => /^r-.p$/.test(rights) && !/ 0$/.test(file));
  if (!program) return undefined;
  const { start, end } = program;
  return { start, count: Math.min(MAX_PAGES, (end - start) / PAGE_BYTES) };
};

/** True when page `canary` has the mark and none of the others has. */
export const isAlive = (pagemap: number, pages: Pages, canary: number): boolean => {
  const marked = markedPages(pagemap, pages);
  return marked.length === 1 && marked[0] === canary;
};

/** Marks one of the pages of a process that stands still; null where that cannot be done. */
export const setCanary = (pid: number, pages: Pages): number | null => {
  const canary = Math.floor(Math.random() * pages.count);
  const byte = Buffer.alloc(1);
  const at = pages.start + canary * PAGE_BYTES;
  try {
    const fd = fs.openSync(`/proc/${pid}/mem`, 'r+');
    try {
      if (fs.readSync(fd, byte, 0, 1, at) !== 1) return null;
      return fs.writeSync(fd, byte, 0, 1, at) === 1 ? canary : null;
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return null;
  }
};
