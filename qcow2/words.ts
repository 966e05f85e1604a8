// The 64-bit words of L1 and L2 tables (qcow2 specification, "Cluster mapping"), as pairs of 32-bit
// halves: JavaScript's bit operators work on 32 bits, and doubles hold a whole offset.
//
// L1 entry, and standard L2 entry:
//
//    63  62  61..56    55 ........................ 9   8..1       0
//   ┌───┬───┬────────┬───────────────────────────────┬──────────┬───┐
//   │ C │ P │reserved│  host offset (bits 9 to 55)   │ reserved │ Z │
//   └───┴───┴────────┴───────────────────────────────┴──────────┴───┘
//     C  COPIED: refcount is exactly 1 (kept exact in the active tables, 0 elsewhere)
//     P  compressed: the rest is the compressed descriptor below (L2 only)
//     Z  reads as zeros (L2 only)
//
// Compressed L2 entry, with x = 62 - (cluster_bits - 8):
//
//    63  62  61 .............. x   x-1 ........................... 0
//   ┌───┬───┬───────────────────┬───────────────────────────────────┐
//   │ 0 │ 1 │ extra 512-B sectors│ host offset of the first byte     │
//   └───┴───┴───────────────────┴───────────────────────────────────┘

import type { HostOffset } from '../disk/index.js';

export const TWO_32 = 2 ** 32;

export const COPIED_HI = 0x8000_0000;
export const COMPRESSED_HI = 0x4000_0000;
export const ZERO_LO = 1;
/** What the high half of a compressed descriptor has but its two flags. */
export const PACKED_HI_MASK = 0x3fff_ffff;
const OFFSET_HI_MASK = 0x00ff_ffff;
const OFFSET_LO_MASK = 0xffff_fe00;
const STANDARD_RESERVED_HI = 0x3f00_0000;
const STANDARD_RESERVED_LO = 0x1fe;
const L1_RESERVED_HI = 0x7f00_0000;
const L1_RESERVED_LO = 0x1ff;

export const SECTOR_BYTES = 512;

/** What an L2 entry says about its cluster. */
export type EntryKind = 'unallocated' | 'zero' | 'plain' | 'packed';

/** Host byte offset in an L1 entry or a standard L2 entry. */
export const offsetOf = (hi: number, lo: number): HostOffset =>
  ((hi & OFFSET_HI_MASK) * TWO_32 + ((lo & OFFSET_LO_MASK) >>> 0)) as HostOffset;

export const kindOf = (hi: number, lo: number): EntryKind => {
  if ((hi & COMPRESSED_HI) !== 0) return 'packed';
  if ((lo & ZERO_LO) !== 0) return 'zero';
  return offsetOf(hi, lo) === 0 ? 'unallocated' : 'plain';
};

/** Bits set that the specification reserves in a standard L2 entry. */
export const hasReservedBits = (hi: number, lo: number): boolean =>
  (hi & COMPRESSED_HI) === 0 &&
  ((hi & STANDARD_RESERVED_HI) !== 0 || (lo & STANDARD_RESERVED_LO) !== 0);

/** Bits set that the specification reserves in an L1 entry. */
export const hasReservedL1Bits = (hi: number, lo: number): boolean =>
  (hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0;

/** The high half of an entry for a standard cluster or table at a host byte offset. */
export const highOf = (offset: number): number => Math.floor(offset / TWO_32);
/** The low half. */
export const lowOf = (offset: number): number => offset % TWO_32;

/** Where a packed cluster's bytes lie. */
export interface Packed {
  /** Host byte offset of the first byte of the payload. */
  readonly offset: HostOffset;
  /** Bytes from there to the end of its last sector: the payload's length, rounded up. */
  readonly length: number;
}

/** How many bits of the high half belong to a packed cluster's offset. */
export const packedOffsetHighBits = (clusterBits: number): number => 62 - (clusterBits - 8) - 32;

/** Decodes a compressed descriptor. */
export const decodePacked = (hi: number, lo: number, clusterBits: number): Packed => {
  const bits = packedOffsetHighBits(clusterBits);
  const offset = ((hi & ((1 << bits) - 1)) * TWO_32 + lo) as HostOffset;
  const sectors = (hi & PACKED_HI_MASK) >>> bits;
  return { offset, length: (sectors + 1) * SECTOR_BYTES - (offset % SECTOR_BYTES) };
};

/** The high half of a compressed descriptor; the low half is `lowOf(offset)`. `length` in bytes. */
export const packedHigh = (offset: number, length: number, clusterBits: number): number => {
  const sectors =
    Math.floor((offset + length - 1) / SECTOR_BYTES) - Math.floor(offset / SECTOR_BYTES);
  return (COMPRESSED_HI | (sectors << packedOffsetHighBits(clusterBits)) | highOf(offset)) >>> 0;
};

/** The first host offset that a compressed descriptor cannot hold. */
export const packedOffsetLimit = (clusterBits: number): number =>
  2 ** Math.min(62 - (clusterBits - 8), 53);
