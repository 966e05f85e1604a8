// Clusters of one image with the same content are stored once: the first is written, its twins refer
// to it. qcow2 allows a host cluster to be referred to from many guest offsets; refcounts count them.
//
// A table of digests in typed arrays, open addressing, of bounded size: when it is full, further
// clusters are simply not looked for.

import { DIGEST_BYTES } from '../disk/index.js';

/** 28 bytes an entry, so at most 28 MiB; three quarters of it cover 48 GiB of 64-KiB clusters. */
const MAX_ENTRIES = 2 ** 20;
const MIN_ENTRIES = 2 ** 10;
const MAX_LOAD = 0.75;
const KEY_WORDS = DIGEST_BYTES / 4;
const NOT_PLACED = -1;

export class Twins {
  readonly #mask: number;
  readonly #most: number;
  readonly #keys: Uint32Array;
  /** Host byte offset of the first of its kind; NOT_PLACED while it is on its way. */
  readonly #places: Float64Array;
  /** Length of its payload in bytes; 0 when it is stored plain. */
  readonly #lengths: Uint32Array;
  readonly #used: Uint8Array;
  #count = 0;

  /** For an image of `clusters` clusters. */
  constructor(clusters: number) {
    const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, clusters) / MAX_LOAD));
    const entries = Math.min(MAX_ENTRIES, Math.max(MIN_ENTRIES, wanted));
    this.#mask = entries - 1;
    this.#most = Math.floor(entries * MAX_LOAD);
    this.#keys = new Uint32Array(entries * KEY_WORDS);
    this.#places = new Float64Array(entries);
    this.#lengths = new Uint32Array(entries);
    this.#used = new Uint8Array(entries);
  }

  /** The entry with the digest at `digests[at]`, or the free one where it belongs. */
  #find(digests: Buffer, at: number): number {
    const a = digests.readUInt32LE(at);
    const b = digests.readUInt32LE(at + 4);
    const c = digests.readUInt32LE(at + 8);
    const d = digests.readUInt32LE(at + 12);
    const keys = this.#keys;
    for (let slot = a & this.#mask; ; slot = (slot + 1) & this.#mask) {
      if (this.#used[slot] === 0) return slot;
      const key = slot * KEY_WORDS;
      if (keys[key] === a && keys[key + 1] === b && keys[key + 2] === c && keys[key + 3] === d) {
        return slot;
      }
    }
  }

  /** True when a cluster with this digest was announced before; otherwise announces it. */
  announce(digests: Buffer, at: number): boolean {
    const slot = this.#find(digests, at);
    if (this.#used[slot] === 1) return true;
    if (this.#count === this.#most) return false;
    this.#count += 1;
    this.#used[slot] = 1;
    this.#places[slot] = NOT_PLACED;
    for (let w = 0; w < KEY_WORDS; w += 1) {
      this.#keys[slot * KEY_WORDS + w] = digests.readUInt32LE(at + 4 * w);
    }
    return false;
  }

  /** Says where the announced cluster went; `length` is its payload's, 0 for a plain cluster. */
  placed(digests: Buffer, at: number, place: number, length: number): void {
    const slot = this.#find(digests, at);
    if (this.#used[slot] === 0) return;
    this.#places[slot] = place;
    this.#lengths[slot] = length;
  }

  /** Where the first of a twin's kind went. Batches are placed in order, so it has been placed. */
  where(digests: Buffer, at: number): { readonly place: number; readonly length: number } {
    const slot = this.#find(digests, at);
    const place = this.#places[slot] as number;
    if (this.#used[slot] === 0 || place === NOT_PLACED) {
      throw new Error('a cluster was placed before its twin');
    }
    return { place, length: this.#lengths[slot] as number };
  }
}
