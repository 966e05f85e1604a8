// Whether what a snapshot says of its sizes can be true. Whoever believes a size without this can be made to
// allocate, or to walk through, as much as a 64-bit number can say.

import { digestL1Entries } from './digest-layout.js';
import type { Geometry } from './geometry.js';
import { type Header, MAX_L1_BYTES } from './header.js';
import type { SnapshotRecord } from './record.js';
import type { SnapshotEntry } from './snapshots.js';
import { SECTOR_BYTES } from './words.js';

/** Why an L1 table cannot be what a snapshot says; undefined when it can. */
export const tableMisfit = (
  header: Header,
  geometry: Geometry,
  { l1Entries, diskSize }: SnapshotEntry,
): string | undefined => {
  if (l1Entries * 8 > MAX_L1_BYTES) return 'is larger than 32 MiB';
  const isLongEnough = l1Entries >= geometry.l1Entries(diskSize ?? header.diskSize);
  return isLongEnough ? undefined : 'is too short for its disk';
};

/** Why a record cannot be that of a snapshot; undefined when it can. Its digests can be found only then. */
export const recordMisfit = (
  header: Header,
  geometry: Geometry,
  entry: SnapshotEntry,
  { imageSize, digestL1 }: SnapshotRecord,
): string | undefined => {
  const diskSize = entry.diskSize ?? header.diskSize;
  if (Math.ceil(imageSize / SECTOR_BYTES) * SECTOR_BYTES !== diskSize) {
    return `gives ${imageSize} bytes for an image on a disk of ${diskSize}`;
  }
  if (digestL1 < geometry.l1Entries(diskSize)) return 'puts its digests inside the disk';
  if (digestL1 + digestL1Entries(geometry, imageSize) > entry.l1Entries) {
    return 'puts its digests past the end of its L1 table';
  }
  return undefined;
};
