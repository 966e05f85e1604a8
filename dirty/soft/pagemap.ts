// /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): 8 bytes for each page of a process's memory. Read in
// pieces, since those of a large image take 2 MiB for each GiB.

import fs from 'node:fs';
import { MiB, PAGE_BYTES } from '../../disk/index.js';

const ENTRY_BYTES = 8;
const PIECE_BYTES = MiB;

/** Bits 55 (written since the marks were cleared) and 63 (in the page table), as they lie in the upper half. */
const SOFT_DIRTY = 1 << (55 - 32);
const PRESENT = 1 << (63 - 32);

/** A run of pages of a process's memory. */
export interface Pages {
  /** Address of the first. */
  readonly start: number;
  readonly count: number;
}

/**
 * The upper halves of the entries of some pages, in pieces; each piece is valid until the next is asked for. Throws
 * when the kernel gives fewer: then the process is gone.
 */
export function* entries(fd: number, { start, count }: Pages): Generator<Uint32Array> {
  const piece = Buffer.from(new ArrayBuffer(Math.min(PIECE_BYTES, count * ENTRY_BYTES)));
  const words = new Uint32Array(piece.buffer);
  const first = (start / PAGE_BYTES) * ENTRY_BYTES;
  const end = count * ENTRY_BYTES;
  for (let at = 0; at < end; at += piece.length) {
    const wanted = Math.min(piece.length, end - at);
    let got = 0;
    while (got < wanted) {
      const bytes = fs.readSync(fd, piece, got, wanted - got, first + at + got);
      if (bytes === 0) throw new Error('pagemap ended early');
      got += bytes;
    }
    yield words.subarray(0, wanted / 4);
  }
}

/**
 * Marks in `bits`, from bit `at` on, each of the pages that may have been written: those with the mark, and those
 * that are not in the page table, since the mark goes with the entry when the kernel takes that away. Bits past
 * `limit` are left alone. Returns how many pages have the mark itself.
 */
export const collect = (
  fd: number,
  pages: Pages,
  into: { readonly bits: Uint8Array; readonly at: number; readonly limit: number },
): number => {
  const { bits, limit } = into;
  let { at } = into;
  let marked = 0;
  for (const words of entries(fd, pages)) {
    for (let i = 1; i < words.length && at < limit; i += 2, at += 1) {
      const entry = words[i] as number;
      const isMarked = (entry & SOFT_DIRTY) !== 0;
      if (isMarked) marked += 1;
      else if ((entry & PRESENT) !== 0) continue;
      bits[at >>> 3] = (bits[at >>> 3] as number) | (1 << (at & 7));
    }
  }
  return marked;
};

/** The numbers of those of the pages that have the mark. */
export const markedPages = (fd: number, pages: Pages): number[] => {
  const found: number[] = [];
  let page = 0;
  for (const words of entries(fd, pages)) {
    for (let i = 1; i < words.length; i += 2, page += 1) {
      if (((words[i] as number) & SOFT_DIRTY) !== 0) found.push(page);
    }
  }
  return found;
};
