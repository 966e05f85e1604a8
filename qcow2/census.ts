// What a check knows of every host cluster: how many references lead to it, what it is used for and
// whether its stored refcount is 1. Five bytes a cluster, in typed arrays that the system backs with
// memory only where they are touched.

import { fault } from '../disk/index.js';
import { type Findings, hex } from './findings.js';
import type { Geometry } from './geometry.js';
import type { Store } from './store.js';

/** What a cluster is used for; the index of each is its number in the map. */
export const CLUSTER_KINDS = [
  'none',
  'header',
  'refcountTable',
  'refcountBlock',
  'l1',
  'l2',
  'snapshotTable',
  'bitmap',
  'data',
] as const;
export type ClusterKind = (typeof CLUSTER_KINDS)[number];
type UsedKind = Exclude<ClusterKind, 'none'>;

const WORDS: Readonly<Record<ClusterKind, string>> = {
  none: 'nothing',
  header: 'the header',
  refcountTable: 'the refcount table',
  refcountBlock: 'a refcount block',
  l1: 'an L1 table',
  l2: 'an L2 table',
  snapshotTable: 'the snapshot table',
  bitmap: 'a dirty bitmap',
  data: 'data',
};

/**
 * More clusters than this are not checked: 2.5 GiB of arrays. It is 32 TiB of 64-KiB clusters, and
 * 2 TiB of 4-KiB clusters.
 */
export const MAX_CHECKED_CLUSTERS = 2 ** 29;

const KIND_MASK = 0x0f;
/** The stored refcount is exactly 1. */
const STORED_ONE = 0x10;
/** An L2 table that the active L1 table leads to. */
const ACTIVE = 0x20;
const MAX_REFS = 0xffff_ffff;

const DATA = CLUSTER_KINDS.indexOf('data');
const L2 = CLUSTER_KINDS.indexOf('l2');

/** Clusters by what they are used for. */
export type ClusterCounts = Readonly<Record<UsedKind, number>>;

export class Census {
  readonly #findings: Findings;
  readonly #geometry: Geometry;
  readonly #refs: Uint32Array;
  readonly #marks: Uint8Array;
  /** Bytes in the file when the check began. */
  readonly fileBytes: number;
  /** Clusters in the file; the last may be incomplete. */
  readonly clusters: number;

  constructor(store: Store, findings: Findings) {
    this.#findings = findings;
    this.#geometry = store.geometry;
    this.fileBytes = store.file.size();
    this.clusters = store.geometry.clusters(this.fileBytes);
    const tooMany = (cause?: unknown): never => {
      const feature = `${this.clusters} clusters, more than a check can hold in memory`;
      throw fault('store-unsupported', { path: store.path, feature }, cause);
    };
    if (this.clusters > MAX_CHECKED_CLUSTERS) tooMany();
    try {
      this.#refs = new Uint32Array(this.clusters);
      this.#marks = new Uint8Array(this.clusters);
    } catch (error) {
      throw tooMany(error);
    }
  }

  /** References to a cluster found so far; at 2^32 - 1 counting stops. */
  refs(cluster: number): number {
    return this.#refs[cluster] as number;
  }

  kind(cluster: number): ClusterKind {
    return CLUSTER_KINDS[(this.#marks[cluster] as number) & KIND_MASK] as ClusterKind;
  }

  /** Notes that a cluster's stored refcount is 1. */
  setSingle(cluster: number): void {
    this.#marks[cluster] = (this.#marks[cluster] as number) | STORED_ONE;
  }

  isSingle(cluster: number): boolean {
    return ((this.#marks[cluster] as number) & STORED_ONE) !== 0;
  }

  isActive(cluster: number): boolean {
    return ((this.#marks[cluster] as number) & ACTIVE) !== 0;
  }

  #refer(cluster: number, uses: number): void {
    const refs = (this.#refs[cluster] as number) + uses;
    this.#refs[cluster] = refs > MAX_REFS ? MAX_REFS : refs;
  }

  /** Reports that `what` lies in a cluster that is something else. */
  overlap(cluster: number, what: string): void {
    const offset = cluster * this.#geometry.clusterSize;
    this.#findings.corruption(
      'overlap',
      `${what} lies at ${hex(offset)}, which is also ${WORDS[this.kind(cluster)]}.`,
      offset,
    );
  }

  /**
   * Whether host bytes [offset, offset + length) can be what they should be: on a cluster boundary
   * and inside the file, of whose last cluster a part may be missing. Reports it when not.
   */
  isPossible(offset: number, length: number, what: string): boolean {
    if (!this.#geometry.isAligned(offset)) {
      const message = `${what} at ${hex(offset)} does not begin on a cluster boundary.`;
      this.#findings.corruption('misaligned', message, offset);
      return false;
    }
    if (this.#geometry.clusters(offset + length) > this.clusters) {
      const message = `${what} at ${hex(offset)} lies outside the file.`;
      this.#findings.corruption('outside-file', message, offset);
      return false;
    }
    return true;
  }

  /**
   * Counts `uses` references to host bytes [offset, offset + length) and claims them for a table.
   * False when they cannot be it, or are something else already: then nobody should follow it.
   */
  claim(kind: UsedKind, offset: number, length: number, what: string, uses = 1): boolean {
    if (!this.isPossible(offset, length, what)) return false;
    const end = this.#geometry.clusters(offset + length);
    const first = this.#geometry.hostCluster(offset);
    for (let cluster = first; cluster < end; cluster += 1) {
      this.#refer(cluster, uses);
      const mark = this.#marks[cluster] as number;
      if ((mark & KIND_MASK) !== 0) {
        // Going on would let a thousand tables in one place cost a thousand times their length.
        this.overlap(cluster, what);
        return false;
      }
      this.#marks[cluster] = mark | CLUSTER_KINDS.indexOf(kind);
    }
    return true;
  }

  /** Counts `uses` references to an L2 table, which many L1 entries may share. */
  referL2(cluster: number, uses: number, active: boolean, what: string): void {
    this.#refer(cluster, uses);
    const mark = this.#marks[cluster] as number;
    if ((mark & KIND_MASK) === 0) this.#marks[cluster] = mark | L2;
    else if ((mark & KIND_MASK) !== L2) {
      this.overlap(cluster, what);
      return;
    }
    if (active) this.#marks[cluster] = (this.#marks[cluster] as number) | ACTIVE;
  }

  /**
   * Counts `uses` references to a data cluster, which many entries may share. False when it is
   * something else already, which the caller reports: this is the innermost loop of a check.
   */
  referData(cluster: number, uses: number): boolean {
    this.#refer(cluster, uses);
    const mark = this.#marks[cluster] as number;
    const kind = mark & KIND_MASK;
    if (kind === DATA) return true;
    if (kind !== 0) return false;
    this.#marks[cluster] = mark | DATA;
    return true;
  }

  /** All L2 tables in file order, and the references to each: exact while no data is counted. */
  l2Tables(): { readonly clusters: Uint32Array; readonly uses: Uint32Array } {
    let count = 0;
    for (let c = 0; c < this.clusters; c += 1) {
      if (((this.#marks[c] as number) & KIND_MASK) === L2) count += 1;
    }
    const clusters = new Uint32Array(count);
    const uses = new Uint32Array(count);
    let at = 0;
    for (let c = 0; c < this.clusters; c += 1) {
      if (((this.#marks[c] as number) & KIND_MASK) !== L2) continue;
      clusters[at] = c;
      uses[at] = this.#refs[c] as number;
      at += 1;
    }
    return { clusters, uses };
  }

  /** Clusters in use, by kind. */
  counts(): ClusterCounts {
    const tally = new Float64Array(CLUSTER_KINDS.length);
    for (let c = 0; c < this.clusters; c += 1) {
      const kind = (this.#marks[c] as number) & KIND_MASK;
      tally[kind] = (tally[kind] as number) + 1;
    }
    const of = (kind: UsedKind): number => tally[CLUSTER_KINDS.indexOf(kind)] as number;
    return {
      header: of('header'),
      refcountTable: of('refcountTable'),
      refcountBlock: of('refcountBlock'),
      l1: of('l1'),
      l2: of('l2'),
      snapshotTable: of('snapshotTable'),
      bitmap: of('bitmap'),
      data: of('data'),
    };
  }
}
