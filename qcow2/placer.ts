// Gives each cluster of a batch its place in the store: payloads packed one after another at byte
// granularity, as QEMU packs them, plain clusters on cluster boundaries. One placer per take, on the
// main thread, batch after batch in image order, so that a snapshot lies in the file in that order.

import { fault, type HostOffset } from '../disk/index.js';
import type { Geometry } from './geometry.js';
import type { Refcounts } from './refcounts.js';
import { packedOffsetLimit } from './words.js';

export class Placer {
  readonly #refcounts: Refcounts;
  readonly #geometry: Geometry;
  readonly #path: string;
  readonly #limit: number;
  /** The host bytes [at, end) that the next payloads go to. */
  #at = 0;
  #end = 0;

  constructor(path: string, geometry: Geometry, refcounts: Refcounts) {
    this.#path = path;
    this.#geometry = geometry;
    this.#refcounts = refcounts;
    this.#limit = packedOffsetLimit(geometry.clusterBits);
  }

  /**
   * Host byte offsets for payloads of `lengths[i]` bytes (each less than a cluster), in order.
   * A new run is asked for as many clusters as the rest needs.
   */
  packed(lengths: readonly number[]): HostOffset[] {
    const { clusterSize } = this.#geometry;
    let rest = lengths.reduce((sum, length) => sum + length, 0);
    return lengths.map((length) => {
      while (this.#at + length > this.#end) this.#extend(Math.ceil(rest / clusterSize));
      const offset = this.#at as HostOffset;
      this.#at += length;
      rest -= length;
      if (offset + length > this.#limit) {
        throw fault('store-full', {
          path: this.#path,
          limit: 'compressed clusters cannot lie past this offset',
        });
      }
      return offset;
    });
  }

  #extend(clusters: number): void {
    const { clusterSize } = this.#geometry;
    const run = this.#refcounts.nextRun(Math.max(1, clusters));
    const first = run.first * clusterSize;
    if (first !== this.#end) {
      this.#releaseRest();
      this.#at = first;
    }
    this.#end = first + run.count * clusterSize;
  }

  /** Gives back the whole clusters that no payload has touched. */
  #releaseRest(): void {
    const first = this.#geometry.clusters(this.#at);
    const count = this.#geometry.hostCluster(this.#end) - first;
    if (count > 0) this.#refcounts.giveBack({ first, count });
    this.#end = Math.min(this.#end, first * this.#geometry.clusterSize);
  }

  /** Host byte offsets for `count` plain clusters, in as few runs as there are gaps. */
  plain(count: number): HostOffset[] {
    const offsets: HostOffset[] = [];
    while (offsets.length < count) {
      const run = this.#refcounts.nextRun(count - offsets.length);
      for (let i = 0; i < run.count; i += 1)
        offsets.push(((run.first + i) * this.#geometry.clusterSize) as HostOffset);
    }
    return offsets;
  }

  /** Ends packing: the next take begins on a new cluster, never in a published one. */
  finish(): void {
    this.#releaseRest();
  }
}
