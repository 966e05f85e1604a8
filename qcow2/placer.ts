// Gives each cluster of a batch its place in the store: payloads packed one after another at byte
// granularity, as QEMU packs them, plain clusters on cluster boundaries. One placer per take, on the
// main thread, batch after batch in image order, so that a snapshot lies in the file in that order.

import { fault, type HostOffset } from '../disk/index.js';
import type { Geometry } from './geometry.js';
import type { Refcounts, Run } from './refcounts.js';
import { packedOffsetLimit } from './words.js';

export class Placer {
  readonly #refcounts: Refcounts;
  readonly #geometry: Geometry;
  readonly #path: string;
  readonly #limit: number;
  /** The host bytes [at, end) that the next payloads go to. */
  #at = 0;
  #end = 0;
  /** Gaps in which a payload of more than a cluster had no room: given back at the end, or they would be found again. */
  readonly #passed: Run[] = [];

  constructor(path: string, geometry: Geometry, refcounts: Refcounts) {
    this.#path = path;
    this.#geometry = geometry;
    this.#refcounts = refcounts;
    this.#limit = packedOffsetLimit(geometry.clusterBits);
  }

  /**
   * Host byte offset for a payload of `length` bytes, less than two clusters. `rest` is what it and the payloads
   * after it need: where a new run is asked for, it is for as many clusters.
   */
  packed(length: number, rest: number): HostOffset {
    while (this.#at + length > this.#end) {
      this.#extend(Math.ceil(rest / this.#geometry.clusterSize));
    }
    const offset = this.#at as HostOffset;
    this.#at += length;
    if (this.#at > this.#limit) {
      throw fault('store-full', {
        path: this.#path,
        limit: 'compressed clusters cannot lie past this offset',
      });
    }
    return offset;
  }

  #extend(clusters: number): void {
    const { clusterSize } = this.#geometry;
    const run = this.#refcounts.nextRun(Math.max(1, clusters));
    const first = run.first * clusterSize;
    if (first !== this.#end) {
      this.#passRest();
      this.#at = first;
    }
    this.#end = first + run.count * clusterSize;
  }

  /** Leaves the whole clusters that no payload has touched. */
  #passRest(): void {
    const first = this.#geometry.clusters(this.#at);
    const count = this.#geometry.hostCluster(this.#end) - first;
    if (count > 0) this.#passed.push({ first, count });
    this.#end = Math.min(this.#end, first * this.#geometry.clusterSize);
  }

  /** Host byte offset for a plain cluster: the next free one. */
  plain(): HostOffset {
    return (this.#refcounts.nextRun(1).first * this.#geometry.clusterSize) as HostOffset;
  }

  /** Ends packing: the next take begins on a new cluster, never in a published one. */
  finish(): void {
    this.#passRest();
    // The last first: what lies at the end of the file makes it shorter again.
    const passed = this.#passed.splice(0).sort((a, b) => b.first - a.first);
    for (const run of passed) this.#refcounts.giveBack(run);
  }
}
