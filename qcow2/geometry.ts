// The arithmetic that follows from a store's cluster size (specification, "Cluster mapping").

/** The smallest cluster the specification knows, and the largest that QEMU opens. */
export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;
/** The smallest a new store may have: below a page, tables outgrow what they describe. */
export const MIN_NEW_CLUSTER_BITS = 12;

/** Extended L2 entries divide a cluster by 32, and no part may be smaller than a sector. */
export const MIN_EXTENDED_CLUSTER_BITS = 14;

const L2_ENTRY_BITS = 3;
const EXTENDED_L2_ENTRY_BITS = 4;

export class Geometry {
  readonly clusterBits: number;
  readonly clusterSize: number;
  /** True when L2 entries are two words long and tell of subclusters. */
  readonly extendedL2: boolean;
  /** Bytes of one L2 entry. */
  readonly l2EntryBytes: number;
  /** Entries in one L2 table. */
  readonly l2Entries: number;

  constructor(clusterBits: number, extendedL2 = false) {
    this.clusterBits = clusterBits;
    this.clusterSize = 2 ** clusterBits;
    const entryBits = extendedL2 ? EXTENDED_L2_ENTRY_BITS : L2_ENTRY_BITS;
    this.extendedL2 = extendedL2;
    this.l2EntryBytes = 2 ** entryBits;
    this.l2Entries = 2 ** (clusterBits - entryBits);
  }

  /** Clusters that hold `bytes` bytes. */
  clusters(bytes: number): number {
    return Math.ceil(bytes / this.clusterSize);
  }

  /** L1 entries that describe a disk of `bytes` bytes. */
  l1Entries(bytes: number): number {
    return Math.ceil(this.clusters(bytes) / this.l2Entries);
  }

  /** Index of the host cluster that holds host byte `offset`. */
  hostCluster(offset: number): number {
    return Math.floor(offset / this.clusterSize);
  }

  isAligned(offset: number): boolean {
    return offset % this.clusterSize === 0;
  }
}
