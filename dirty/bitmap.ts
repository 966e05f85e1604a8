// bitmap:FILE: one bit for each page of the image, the lowest bit of each byte first, as QEMU's and KVM's dirty
// logs have it on a little-endian machine. Set: the page may have been written since the parent was taken.

import {
  attachFile,
  bitmapBytes,
  bitmapExtents,
  hasBitsPast,
  PAGE_BYTES,
  pageBuffer,
  parseSize,
} from '../disk/index.js';
import type { SourceKind, SourceSpec } from './spec.js';
import { type TrackerFile, trackerFileSource, unsuitable } from './tracker-file.js';

/** Dirty logs come in whole words of 64 bits. */
const WORD_BYTES = 8;

/** What stays in a processor's cache. */
const PIECE_BYTES = 256 * 1024;

const MIN_PAGE = 512;
const MAX_PAGE = 2 ** 30;

const pageOf = ({ name, values }: SourceSpec): number => {
  const text = values.get('page');
  if (text === undefined) return PAGE_BYTES;
  const page = parseSize(text);
  if (
    page !== undefined &&
    page >= MIN_PAGE &&
    page <= MAX_PAGE &&
    Number.isInteger(Math.log2(page))
  )
    return page;
  throw unsuitable(name, `page=${text} is not a power of 2 from 512 to 1G`);
};

/** The file from byte `from` on in pieces, in memory that the next one overwrites. */
function* piecesOf({ path, fd, size }: TrackerFile, name: string, from = 0): Generator<Buffer> {
  const file = attachFile({ path, fd });
  const memory = pageBuffer(Math.min(PIECE_BYTES, size - from));
  for (let at = from; at < size; at += memory.length) {
    const piece = memory.subarray(0, Math.min(memory.length, size - at));
    if (file.read(piece, at) < piece.length) {
      throw unsuitable(name, `${path} became shorter while it was read`);
    }
    yield piece;
  }
}

export const bitmapKind: SourceKind = {
  name: 'bitmap',
  usage: 'bitmap:FILE[,page=4096][,since=UUID]',
  argument: 'needed',
  namesPath: true,
  keys: ['page', 'since'],
  open: (spec) => {
    const page = pageOf(spec);
    const { name } = spec;
    return trackerFileSource({
      spec,
      certainty: 'exact',
      read: (file, { size }) => {
        const needed = bitmapBytes(size, page);
        const inWords = Math.ceil(needed / WORD_BYTES) * WORD_BYTES;
        if (file.size !== needed && file.size !== inWords) {
          throw unsuitable(
            name,
            `${file.path} has ${file.size} bytes, but an image of ${size} bytes with pages of ${page} needs ${needed}`,
          );
        }
        const units = Math.ceil(size / page);
        const whole = Math.floor(units / 8);
        for (const end of piecesOf(file, name, whole)) {
          if (hasBitsPast(end, units - 8 * whole)) {
            throw unsuitable(name, `${file.path} has bits set past the end of the image`);
          }
        }
        return [...bitmapExtents(piecesOf(file, name), page, size)];
      },
    });
  },
};
