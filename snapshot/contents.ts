// What the parent holds, by content: `--dedup store` asks where in it a cluster's content lies, whichever guest
// cluster it belongs to there.
//
// Of each of the parent's clusters with data two words are kept, in typed arrays with open addressing: a part of its
// digest, and its number. They only suggest a cluster; its whole digest, read again from the parent's digest table,
// decides. So an entry takes 8 bytes, not 32, and only what has moved costs reading.

import { setImmediate } from 'node:timers/promises';
import { DIGEST_BYTES, type Digester, isZeroDigest, sameDigest } from '../disk/index.js';
import {
  DigestReader,
  decodePacked,
  type L2Table,
  type OwnSnapshot,
  offsetOf,
  type Store,
} from '../qcow2/index.js';
import type { Stored } from './twins.js';

const MAX_LOAD = 0.75;
/** Two words. */
const SLOT_BYTES = 8;
const TWO_32 = 2 ** 32;
/** Clusters of the digest table after which signals and threads get their turn. */
const TURN = 64;

/**
 * A host cluster with more references than this gets no more from elsewhere: every take adds those it has once more,
 * and 2^32 are the end.
 */
export const MAX_SHARED_REFCOUNT = 2 ** 24;

/** Refcounts by host cluster. */
export interface Counts {
  get(hostCluster: number): number;
}

export class Contents {
  readonly #store: Store;
  readonly #parent: OwnSnapshot;
  readonly #digests: DigestReader;
  readonly #counts: Counts;
  readonly #slots: number;
  /** The second word of the digest. */
  readonly #tags: Uint32Array;
  /** The guest cluster plus one; 0 in a free slot. */
  readonly #clusters: Uint32Array;
  readonly #found = Buffer.alloc(DIGEST_BYTES);
  #l2: { readonly index: number; readonly table: L2Table } | undefined;

  private constructor(store: Store, parent: OwnSnapshot, digests: DigestReader, counts: Counts) {
    this.#store = store;
    this.#parent = parent;
    this.#digests = digests;
    this.#counts = counts;
    this.#slots = slotsFor(digests);
    this.#tags = new Uint32Array(this.#slots);
    this.#clusters = new Uint32Array(this.#slots);
  }

  /** Enters all of the parent's clusters. Resolves to the bytes that needs when they are more than `memory`. */
  static async of(
    from: { store: Store; parent: OwnSnapshot; digester: Digester; counts: Counts },
    memory: number,
    checkStop: () => void,
  ): Promise<Contents | number> {
    const { store, parent, counts } = from;
    // A reader of its own: the one that feeds the batches goes forwards, this one to and fro.
    const digests = new DigestReader(store, parent, from.digester);
    const needed = slotsFor(digests) * SLOT_BYTES;
    if (needed > memory) return needed;
    const contents = new Contents(store, parent, digests, counts);
    await contents.#fill(checkStop);
    return contents;
  }

  /** Bytes of memory it takes. */
  get bytes(): number {
    return this.#slots * SLOT_BYTES;
  }

  async #fill(checkStop: () => void): Promise<void> {
    const { index, layout } = this.#digests;
    const { perCluster } = layout;
    for (let t = 0; t < layout.table; t += 1) {
      if (isZeroDigest(index, t * DIGEST_BYTES)) continue;
      const digests = this.#digests.tableCluster(t);
      for (let i = 0; i < perCluster; i += 1) {
        const at = i * DIGEST_BYTES;
        if (!isZeroDigest(digests, at)) this.#enter(digests, at, t * perCluster + i);
      }
      if (t % TURN !== 0) continue;
      await setImmediate();
      checkStop();
    }
  }

  #home(digests: Buffer, at: number): number {
    return Math.floor((digests.readUInt32LE(at) / TWO_32) * this.#slots);
  }

  /** Of equal contents the first is kept: a million copies of one page are one entry, not a chain of a million. */
  #enter(digests: Buffer, at: number, cluster: number): void {
    const slot = this.#slotOf(digests, at);
    if (this.#clusters[slot] !== 0) return;
    this.#tags[slot] = digests.readUInt32LE(at + 4);
    this.#clusters[slot] = cluster + 1;
  }

  /** The slot with this tag, or the free one where it belongs. */
  #slotOf(digests: Buffer, at: number): number {
    const tag = digests.readUInt32LE(at + 4);
    let slot = this.#home(digests, at);
    while (this.#clusters[slot] !== 0 && this.#tags[slot] !== tag) {
      slot = slot + 1 === this.#slots ? 0 : slot + 1;
    }
    return slot;
  }

  /** Where the parent has the content with the digest at `digests[at]`, if it has it. */
  find(digests: Buffer, at: number): Stored | undefined {
    const entry = this.#clusters[this.#slotOf(digests, at)] as number;
    if (entry === 0) return undefined;
    this.#digests.read(entry - 1, 1, this.#found);
    if (!sameDigest(digests, at, this.#found, 0)) return undefined;
    return this.#placeOf(entry - 1);
  }

  /** Where one of the parent's clusters is stored; undefined where nothing should refer to it. */
  #placeOf(cluster: number): Stored | undefined {
    const { geometry } = this.#store;
    const table = this.#tableOf(cluster);
    if (!table) return undefined;
    const slot = cluster % geometry.l2Entries;
    const [kind, hi, lo] = [table.kind(slot), table.hi(slot), table.lo(slot)];
    if (kind !== 'plain' && kind !== 'packed') return undefined;
    const { offset, length } =
      kind === 'packed'
        ? decodePacked(hi, lo, geometry.clusterBits)
        : { offset: offsetOf(hi, lo), length: 0 };
    if (this.#store.flawOf(kind, offset) !== undefined) return undefined;
    const first = geometry.hostCluster(offset);
    const last = geometry.hostCluster(offset + Math.max(1, length) - 1);
    for (let c = first; c <= last; c += 1) {
      if (this.#counts.get(c) > MAX_SHARED_REFCOUNT) return undefined;
    }
    return { place: offset, length };
  }

  #tableOf(cluster: number): L2Table | undefined {
    const l1 = this.#store.l1(this.#parent.entry);
    const index = Math.floor(cluster / this.#store.geometry.l2Entries);
    if (index >= l1.length) return undefined;
    if (this.#l2?.index === index) return this.#l2.table;
    const offset = offsetOf(l1.hi(index), l1.lo(index));
    if (offset === 0) return undefined;
    const table = this.#store.l2(offset);
    this.#l2 = { index, table };
    return table;
  }
}

/** Slots for all clusters that have a digest, as far as the index tells. */
const slotsFor = ({ index, layout }: DigestReader): number => {
  let tables = 0;
  for (let t = 0; t < layout.table; t += 1) {
    if (!isZeroDigest(index, t * DIGEST_BYTES)) tables += 1;
  }
  return Math.max(1, Math.ceil((tables * layout.perCluster) / MAX_LOAD));
};
