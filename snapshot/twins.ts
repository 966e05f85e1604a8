// Clusters of one image with the same content are stored once: the first is written, its twins refer
// to it. qcow2 allows a host cluster to be referred to from many guest offsets; refcounts count them.
//
// A table of digests in typed arrays, open addressing, of bounded size: when it is full, further
// clusters are simply not looked for.

import { DIGEST_BYTES } from '../disk/index.js';

/** 32 bytes an entry, so at most 32 MiB; three quarters of it cover 48 GiB of 64-KiB clusters. */
const MAX_ENTRIES = 2 ** 20;
const MIN_ENTRIES = 2 ** 10;
const MAX_LOAD = 0.75;
const KEY_WORDS = DIGEST_BYTES / 4;
const NOT_PLACED = -1;

/**
 * References that the twins of one take may give a host cluster, all payloads in it together. Each later take adds as
 * many once more, so a refcount of 32 bits is enough for 4096 snapshots of an image full of one page. A content that
 * comes more often is stored once more, which costs nothing beside what it saves.
 */
const MAX_SHARES = 2 ** 20;

/** References that one content may get: of small payloads many lie in a host cluster. */
export const sharesFor = (length: number, clusterSize: number): number =>
  length === 0 ? MAX_SHARES : Math.max(1, Math.floor((MAX_SHARES * length) / clusterSize));

/** Where a content lies. */
export interface Stored {
  /** Host byte offset. */
  readonly place: number;
  /** Length of its payload in bytes; 0 when it is stored plain. */
  readonly length: number;
}

/**
 * What is to be done with a cluster: `twin` refers to another's place; `first` is the first of its kind; `store` is to
 * be stored whatever else there is, since the table is full or its kind has enough references.
 */
export type Role = 'twin' | 'first' | 'store';

export class Twins {
  readonly #clusterSize: number;
  readonly #mask: number;
  readonly #most: number;
  readonly #keys: Uint32Array;
  /** Host byte offset of the first of its kind; NOT_PLACED while it is on its way. */
  readonly #places: Float64Array;
  /** Length of its payload in bytes; 0 when it is stored plain. */
  readonly #lengths: Uint32Array;
  /** How many refer to that place, or will; 0 in a free entry. */
  readonly #shares: Uint32Array;
  #count = 0;

  /** For an image of `clusters` clusters of `clusterSize` bytes. */
  constructor(clusters: number, clusterSize: number) {
    const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, clusters) / MAX_LOAD));
    const entries = Math.min(MAX_ENTRIES, Math.max(MIN_ENTRIES, wanted));
    this.#clusterSize = clusterSize;
    this.#mask = entries - 1;
    this.#most = Math.floor(entries * MAX_LOAD);
    this.#keys = new Uint32Array(entries * KEY_WORDS);
    this.#places = new Float64Array(entries);
    this.#lengths = new Uint32Array(entries);
    this.#shares = new Uint32Array(entries);
  }

  /** The entry with the digest at `digests[at]`, or the free one where it belongs. */
  #find(digests: Buffer, at: number): number {
    const a = digests.readUInt32LE(at);
    const b = digests.readUInt32LE(at + 4);
    const c = digests.readUInt32LE(at + 8);
    const d = digests.readUInt32LE(at + 12);
    const keys = this.#keys;
    for (let slot = a & this.#mask; ; slot = (slot + 1) & this.#mask) {
      if (this.#shares[slot] === 0) return slot;
      const key = slot * KEY_WORDS;
      if (keys[key] === a && keys[key + 1] === b && keys[key + 2] === c && keys[key + 3] === d) {
        return slot;
      }
    }
  }

  /** Says what a cluster with this digest is to be. */
  announce(digests: Buffer, at: number): Role {
    const slot = this.#find(digests, at);
    const shares = this.#shares[slot] as number;
    if (shares === 0) return this.#enter(slot, digests, at);
    if (shares < sharesFor(this.#lengths[slot] as number, this.#clusterSize)) {
      this.#shares[slot] = shares + 1;
      return 'twin';
    }
    // Twins that are not placed yet come before this one, and will still find the old place.
    this.#shares[slot] = 1;
    return 'store';
  }

  #enter(slot: number, digests: Buffer, at: number): Role {
    if (this.#count === this.#most) return 'store';
    this.#count += 1;
    this.#shares[slot] = 1;
    this.#places[slot] = NOT_PLACED;
    for (let w = 0; w < KEY_WORDS; w += 1) {
      this.#keys[slot * KEY_WORDS + w] = digests.readUInt32LE(at + 4 * w);
    }
    return 'first';
  }

  /** Says where the announced cluster went, or was found. */
  placed(digests: Buffer, at: number, { place, length }: Stored): void {
    const slot = this.#find(digests, at);
    if (this.#shares[slot] === 0) return;
    this.#places[slot] = place;
    this.#lengths[slot] = length;
  }

  /** Where the first of a twin's kind is. Batches are placed in order, so it has been placed. */
  where(digests: Buffer, at: number): Stored {
    const slot = this.#find(digests, at);
    const place = this.#places[slot] as number;
    if (this.#shares[slot] === 0 || place === NOT_PLACED) {
      throw new Error('a cluster was placed before its twin');
    }
    return { place, length: this.#lengths[slot] as number };
  }
}
