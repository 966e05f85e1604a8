// Zeroes what the guest does not use: ranges that a list or a bitmap names, as a balloon device or the guest's own tools
// report them. Zeros take no room in a store, and what a file held that was deleted is not kept.
//
//     nvsnap take nvdimm.img vm.qcow2 --stage ./free-pages.js,ranges=free.txt
//     nvsnap take nvdimm.img vm.qcow2 --stage ./free-pages.js,bitmap=free.bits,page=4096
//
// The list has one "OFFSET LENGTH" per line, in bytes, decimal or after 0x in hexadecimal; # begins a comment. The bitmap
// has a bit for each page, the lowest bit of each byte first; set: the page is free. Either has to be true at the moment
// of the take: pause the guest, ask it, take. A page that was given out again since would be lost.
//
// With --dirty only clusters are read that may have changed: what became free elsewhere stays as it is in the parent.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { stage } from 'nvsnap/stage';

const WORDS = ['ranges', 'bitmap', 'page'];
const PAGE_BYTES = 4096;

/** @typedef {{ starts: Float64Array, ends: Float64Array }} Ranges ascending, apart from each other */
/** @typedef {{ bits: Uint8Array, page: number }} Bits */

/**
 * @param {string} line
 * @returns {[number, number] | undefined} offset and length
 */
const rangeIn = (line) => {
  const words = line.replace(/#.*/, '').trim().split(/\s+/);
  if (words.length === 1 && words[0] === '') return undefined;
  const [offset = Number.NaN, length = Number.NaN] = words.map((word) =>
    /^(\d+|0x[0-9a-f]+)$/i.test(word) ? Number(word) : Number.NaN,
  );
  if (words.length === 2 && Number.isSafeInteger(offset + length)) return [offset, length];
  throw new Error(`"${line.trim()}" is not OFFSET LENGTH`);
};

/**
 * Reads a list; ranges that overlap become one.
 * @param {string} path
 * @returns {Ranges}
 */
const readRanges = (path) => {
  const ranges = readFileSync(path, 'utf8')
    .split('\n')
    .map(rangeIn)
    .filter((range) => range !== undefined)
    .sort(([a], [b]) => a - b);
  /** @type {number[]} */
  const starts = [];
  /** @type {number[]} */
  const ends = [];
  for (const [offset, length] of ranges) {
    const last = ends.length - 1;
    if (last >= 0 && offset <= Number(ends[last])) {
      ends[last] = Math.max(Number(ends[last]), offset + length);
    } else {
      starts.push(offset);
      ends.push(offset + length);
    }
  }
  return { starts: Float64Array.from(starts), ends: Float64Array.from(ends) };
};

/**
 * @param {unknown} page
 * @returns {number} bytes
 */
const pageOf = (page = PAGE_BYTES) => {
  const bytes = Number(page);
  if (Number.isInteger(Math.log2(bytes)) && bytes >= 512) return bytes;
  throw new Error(`page=${page} is not a power of 2 from 512 on`);
};

/**
 * The first range that ends behind `offset`, by halving.
 * @param {Ranges} ranges
 * @param {number} offset
 */
const firstBehind = ({ ends }, offset) => {
  let [from, to] = [0, ends.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (Number(ends[middle]) > offset) to = middle;
    else from = middle + 1;
  }
  return from;
};

/**
 * The free parts of [start, end).
 * @param {Ranges | Bits} free
 * @param {number} start
 * @param {number} end
 * @returns {Generator<[number, number]>}
 */
function* freeWithin(free, start, end) {
  if ('starts' in free) {
    for (let i = firstBehind(free, start); Number(free.starts[i]) < end; i += 1) {
      yield [Math.max(start, Number(free.starts[i])), Math.min(end, Number(free.ends[i]))];
    }
    return;
  }
  const { bits, page } = free;
  for (let i = Math.floor(start / page); i * page < end; i += 1) {
    if ((Number(bits[Math.floor(i / 8)] ?? 0) >> (i % 8)) & 1) {
      yield [Math.max(start, i * page), Math.min(end, (i + 1) * page)];
    }
  }
}

export default stage({
  name: 'free-pages',
  summary: 'zeroes what the guest reports free',
  usage: {
    ranges: 'a file of lines "OFFSET LENGTH", in bytes',
    bitmap: 'instead: a file with a bit for each page, set where it is free',
    page: 'bytes of a page of the bitmap (default 4096)',
  },
  at: ['before:dedup'],
  changes: true,

  /** @returns {Ranges | Bits} */
  parse(words, { folder }) {
    const unknown = Object.keys(words).find((word) => !WORDS.includes(word));
    if (unknown) throw new Error(`it has no option "${unknown}"`);
    const { ranges, bitmap, page } = words;
    if ((ranges === undefined) === (bitmap === undefined)) {
      throw new Error('it needs ranges=FILE or bitmap=FILE');
    }
    if (bitmap !== undefined) {
      return {
        bits: new Uint8Array(readFileSync(resolve(folder, String(bitmap)))),
        page: pageOf(page),
      };
    }
    if (page !== undefined) throw new Error('page= is for a bitmap');
    return readRanges(resolve(folder, String(ranges)));
  },

  open(free) {
    let bytes = 0;
    return {
      batch(batch) {
        const { offset, length } = batch;
        for (const [from, to] of freeWithin(free, offset, offset + length)) {
          batch.data.fill(0, from - offset, to - offset);
          bytes += to - from;
        }
      },
      flush: () => bytes,
    };
  },

  conclude: (parts) => ({ 'bytes zeroed': parts.reduce((all, bytes) => all + bytes, 0) }),
});
