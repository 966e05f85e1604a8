// Whether the kernel tracks at all (CONFIG_MEM_SOFT_DIRTY). Where it does not, the marks can be "cleared" all the same,
// and everything reads as not written: so it is tried out, on a page of our own.

import fs from 'node:fs';
import {
  type Mapping,
  mapShared,
  openNameless,
  PAGE_BYTES,
  storeInto,
  unmap,
} from '../../disk/index.js';
import { markedPages } from './pagemap.js';

const isMarked = ({ address }: Mapping): boolean => {
  const fd = fs.openSync('/proc/self/pagemap', 'r');
  try {
    return markedPages(fd, { start: address, count: 1 }).length > 0;
  } finally {
    fs.closeSync(fd);
  }
};

/** What is written to clear_refs to clear the marks of soft-dirty pages, and no others. */
export const CLEAR_SOFT_DIRTY = '4';

/** Tries a page of a new file in `folder`, which is to be in memory as an image is: true when its marks tell the truth. */
export const kernelTracks = (folder: string): boolean => {
  const fd = openNameless(folder);
  if (fd === undefined) return false;
  try {
    fs.ftruncateSync(fd, PAGE_BYTES);
    const mapping = mapShared(fd, 0, PAGE_BYTES);
    try {
      storeInto(mapping, 0, Buffer.from([1]));
      fs.writeFileSync('/proc/self/clear_refs', CLEAR_SOFT_DIRTY);
      const before = isMarked(mapping);
      storeInto(mapping, 0, Buffer.from([2]));
      return !before && isMarked(mapping);
    } finally {
      unmap(mapping);
    }
  } catch {
    return false;
  } finally {
    fs.closeSync(fd);
  }
};
