// How large the digest area of a snapshot is (docs/format.md, "Digests").

import { DIGEST_BYTES } from '../disk/index.js';
import type { Geometry } from './geometry.js';

/** The sizes of a digest area, all in clusters. */
export interface DigestLayout {
  /** Digests in one cluster. */
  readonly perCluster: number;
  /** Clusters of the digest table. */
  readonly table: number;
  /** Clusters of the index, right after it. */
  readonly index: number;
}

export const digestLayout = (geometry: Geometry, imageSize: number): DigestLayout => {
  const perCluster = geometry.clusterSize / DIGEST_BYTES;
  const table = Math.ceil(geometry.clusters(imageSize) / perCluster);
  return { perCluster, table, index: Math.ceil(table / perCluster) };
};

/** L1 entries that a digest area takes. */
export const digestL1Entries = (geometry: Geometry, imageSize: number): number => {
  const { table, index } = digestLayout(geometry, imageSize);
  return Math.ceil((table + index) / geometry.l2Entries);
};
