// The arithmetic that follows from a store's cluster size (specification, "Cluster mapping").

/** The smallest cluster the specification knows, and the largest that QEMU opens. */
export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;
/** The smallest a new store may have: below a page, tables outgrow what they describe. */
export const MIN_NEW_CLUSTER_BITS = 12;

const L2_ENTRY_BITS = 3;

export class Geometry {
  readonly clusterBits: number;
  readonly clusterSize: number;
  /** Entries in one L2 table. */
  readonly l2Entries: number;

  constructor(clusterBits: number) {
    this.clusterBits = clusterBits;
    this.clusterSize = 2 ** clusterBits;
    this.l2Entries = 2 ** (clusterBits - L2_ENTRY_BITS);
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
