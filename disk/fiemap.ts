// Where the blocks of a file lie on its disk (the kernel's Documentation/filesystems/fiemap.rst).
//
//     header  start 8, length 8, flags 4, extents found 4, extents there is room for 4, reserved 4
//     extent  logical 8, physical 8, length 8, reserved 16, flags 4, reserved 12          all little-endian here

import type { Extent } from './extents.js';
import { ioctl } from './os.js';

const FS_IOC_FIEMAP = 0xc020_660b;
/** Writes back what is dirty first: its place is not known before. */
const FIEMAP_FLAG_SYNC = 1;

const HEADER_BYTES = 32;
const EXTENT_BYTES = 56;
/** Extents per call: few calls, and each is a short one. */
const EXTENTS = 1024;

const LAST = 0x0001;
const UNWRITTEN = 0x0800;
const MERGED = 0x1000;
const SHARED = 0x2000;
/** More than a number can hold exactly: no disk is as large. */
const MAX_HIGH = 2 ** 21;
const TWO_32 = 2 ** 32;

/**
 * What a place says. `written`: the bytes are exactly there. `unwritten`: there is room, which reads as zeros.
 * `opaque`: the place does not tell what is read, since the data are compressed, inline, not yet written, …
 */
export type PlaceKind = 'written' | 'unwritten' | 'opaque';

/** A range of a file, and where on the disk it lies. In bytes. */
export interface PlacedExtent extends Extent {
  /** Where `start` lies. */
  readonly physical: number;
  readonly kind: PlaceKind;
  /** True when another file, or another part of this one, has its data there too. */
  readonly shared: boolean;
}

const kindOf = (flags: number): PlaceKind => {
  const others = flags & ~(LAST | MERGED | SHARED);
  if (others === 0) return 'written';
  return others === UNWRITTEN ? 'unwritten' : 'opaque';
};

const readNumber = (page: Buffer, at: number): number => {
  const high = page.readUInt32LE(at + 4);
  return high < MAX_HIGH ? high * TWO_32 + page.readUInt32LE(at) : Number.NaN;
};

/** One extent of a page; undefined when it has numbers that make no sense. */
const decode = (page: Buffer, at: number): (PlacedExtent & { isLast: boolean }) | undefined => {
  const start = readNumber(page, at);
  const physical = readNumber(page, at + 8);
  const end = start + readNumber(page, at + 16);
  const flags = page.readUInt32LE(at + 40);
  if (!(end > start && Number.isSafeInteger(end))) return undefined;
  const kind = Number.isNaN(physical) ? 'opaque' : kindOf(flags);
  const shared = (flags & SHARED) !== 0;
  return { start, end, physical, kind, shared, isLast: (flags & LAST) !== 0 };
};

/**
 * The extents of an open file of `size` bytes in ascending order, cut at its end; what is in none of them is a hole.
 * Throws the system's error where there is no such call, and an Error where its answer makes no sense.
 */
export function* placedExtents(fd: number, size: number): Generator<PlacedExtent> {
  const page = Buffer.alloc(HEADER_BYTES + EXTENTS * EXTENT_BYTES);
  let at = 0;
  while (at < size) {
    page.fill(0, 0, HEADER_BYTES);
    page.writeBigUInt64LE(BigInt(at), 0);
    page.writeBigUInt64LE(BigInt(size - at), 8);
    page.writeUInt32LE(FIEMAP_FLAG_SYNC, 16);
    page.writeUInt32LE(EXTENTS, 24);
    ioctl(fd, FS_IOC_FIEMAP, page);
    const found = page.readUInt32LE(20);
    if (found === 0) return;
    for (let i = 0; i < found; i += 1) {
      const extent = decode(page, HEADER_BYTES + i * EXTENT_BYTES);
      if (!extent || extent.end <= at)
        throw new Error('the file system names extents out of order');
      const { isLast, ...placed } = extent;
      // The first one of a page may begin before what was asked for.
      const cut = Math.max(0, at - placed.start);
      const start = placed.start + cut;
      const end = Math.min(placed.end, size);
      if (start < end) yield { ...placed, start, end, physical: placed.physical + cut };
      at = placed.end;
      if (isLast) return;
    }
  }
}
