// A new snapshot in the making: its L1 table, which begins as the parent's, and the two trees below
// it (image clusters, digests). Clusters are reported in ascending order; all others stay the
// parent's. This is the primitive of dependent snapshots: sharing is what happens when nothing does.

import type { Digester, GuestCluster, HostOffset } from '../disk/index.js';
import { digestL1Entries, digestLayout } from './digest-layout.js';
import { DigestReader, DigestWriter, inheritDigests } from './digests.js';
import type { SnapshotRecord } from './record.js';
import type { Snapshot } from './snapshot.js';
import type { Store } from './store.js';
import { Table } from './table.js';
import { type TableSink, TreeWriter } from './tree.js';
import { highOf, lowOf, packedHigh } from './words.js';

/** A snapshot that nvsnap made, and can therefore be a parent. */
export type OwnSnapshot = Snapshot & { readonly record: SnapshotRecord };

/** A finished new snapshot's tables, before it has an entry in the snapshot table. */
export interface Built {
  readonly l1: Table;
  readonly digestL1: number;
  /** Digest of the digests' index, in hexadecimal. */
  readonly root: string;
  /** Size of the vmstate area in bytes. */
  readonly vmStateBytes: number;
}

export class SnapshotBuilder {
  readonly #store: Store;
  readonly #l1: Table;
  readonly #digestL1: number;
  readonly #imageSize: number;
  readonly #tree: TreeWriter;
  readonly #digests: DigestWriter;
  /** The parent's digests; undefined for a snapshot that depends on none. */
  readonly parentDigests: DigestReader | undefined;

  /**
   * `diskSize` is the virtual disk's in bytes, at least the image's; both sizes in bytes. Without a parent it may
   * begin with the clusters of `disk`, of which the digests are still to come.
   */
  constructor(
    store: Store,
    sink: TableSink,
    digester: Digester,
    sizes: { imageSize: number; diskSize: number },
    parent: OwnSnapshot | undefined,
    disk?: { l1: Table; imageSize: number },
  ) {
    const { geometry } = store;
    const { imageSize } = sizes;
    this.#store = store;
    this.#imageSize = imageSize;
    this.#digestL1 = geometry.l1Entries(sizes.diskSize);
    this.#l1 = Table.empty(Math.max(1, this.#digestL1 + digestL1Entries(geometry, imageSize)));
    const from = parent && { l1: store.l1(parent.entry), record: parent.record };
    const below = from ? { l1: from.l1, imageSize: from.record.imageSize } : disk;
    if (below) this.#inheritDisk(below);
    const into = { l1: this.#l1, digestL1: this.#digestL1, imageSize };
    inheritDigests(geometry, from, into);
    this.parentDigests = parent && new DigestReader(store, parent, digester);
    this.#tree = new TreeWriter(store, sink, this.#l1, 0);
    this.#digests = new DigestWriter(store, sink, digester, {
      ...into,
      parent: this.parentDigests,
    });
  }

  #inheritDisk(parent: { l1: Table; imageSize: number }): void {
    const { geometry } = this.#store;
    const entries = Math.min(
      geometry.l1Entries(this.#imageSize),
      geometry.l1Entries(parent.imageSize),
      parent.l1.length,
    );
    for (let i = 0; i < entries; i += 1) this.#l1.set(i, parent.l1.hi(i), parent.l1.lo(i));
  }

  /**
   * Guest cluster `cluster` is stored at a host byte offset: as a payload of `length` bytes, or plain
   * when that is 0.
   */
  stored(cluster: GuestCluster, place: HostOffset, length: number): void {
    const { clusterBits } = this.#store.geometry;
    const hi = length === 0 ? highOf(place) : packedHigh(place, length, clusterBits);
    this.#tree.set(cluster, hi, lowOf(place));
  }

  /** Guest cluster `cluster` reads as zeros. */
  zero(cluster: GuestCluster): void {
    this.#tree.set(cluster, 0, 0);
  }

  /** Clusters [first, first + count) have the digests at `from[at]`; 16 zero bytes for one of zeros. */
  digests(first: GuestCluster, count: number, from: Uint8Array, at: number): void {
    this.#digests.set(first, count, from, at);
  }

  /** Guest clusters [from, to) read as zeros; returns how many of them did not before. */
  clear(from: GuestCluster, to: GuestCluster): number {
    this.#tree.clear(from, to);
    return this.#digests.clear(from, to);
  }

  /** Writes what is left. When the image shrank, what lay past its new end is dropped. */
  finish(): Built {
    const { geometry } = this.#store;
    const end = geometry.clusters(this.#imageSize);
    this.#tree.clear(end, geometry.l1Entries(this.#imageSize) * geometry.l2Entries);
    this.#tree.finish();
    const layout = digestLayout(geometry, this.#imageSize);
    this.#digests.clear(end, layout.table * layout.perCluster);
    const root = this.#digests.finish();
    const gap = (this.#digestL1 - geometry.l1Entries(this.#imageSize)) * geometry.l2Entries;
    return {
      l1: this.#l1,
      digestL1: this.#digestL1,
      root,
      vmStateBytes: (gap + layout.table + layout.index) * geometry.clusterSize,
    };
  }
}
