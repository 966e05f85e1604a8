// Slabs: the memory that batches travel in. Each is one SharedArrayBuffer that every thread sees, so
// that only its number crosses threads. The pool hands out a fixed count of them; when all are out,
// nothing more is read. That is the bound on memory, whatever the image's size.
//
//    head │ places │ lengths │ starts │ slots │ known │ digests │ kinds │ data │ packed

import {
  allocatePages,
  DIGEST_BYTES,
  PAGE_BYTES,
  roundUp,
  type SharedBytes,
} from '../disk/index.js';
import type { SlabStock } from './stock.js';

/** What a stage knows of one cluster of a batch; one byte each. */
export const Kind = {
  /** To be stored: its bytes are in `data`. */
  plain: 0,
  /** To be stored: its payload is in `packed`, at `starts[i]`, `lengths[i]` bytes long. */
  packed: 1,
  /** Changed, and now all zero: nothing to store. */
  zero: 2,
  /** Nothing to do: the parent has the same. */
  same: 3,
  /** To be stored, and already stored for an earlier cluster: it will refer to that one's place. */
  twin: 4,
  /** What is stored for it is not what was taken. */
  damaged: 5,
  /** As plain, but only some of its 32 parts are stored, as `parts[i]` says; fetch makes it plain. */
  partial: 6,
} as const;

/** Four clusters that are `same`. */
const ALL_SAME = Kind.same * 0x01010101;

/** The sizes of a slab; plain data, equal in every thread. */
export interface SlabLayout {
  readonly clusterSize: number;
  /** Most clusters in a batch. */
  readonly clusters: number;
  /** Bytes for payloads. */
  readonly packedBytes: number;
  /** The bytes of so many of them have room; left out: of all. */
  readonly room?: number;
}

const HEAD_WORDS = 8;

/** Where each part begins and the last one ends, in bytes from the slab's own beginning. */
const offsets = ({ clusterSize, clusters, packedBytes, room = clusters }: SlabLayout) => {
  const places = HEAD_WORDS * 8;
  const lengths = places + clusters * 8;
  const starts = lengths + clusters * 4;
  const slots = starts + clusters * 4;
  const known = slots + (room < clusters ? clusters * 4 : 0);
  const digests = known + clusters * DIGEST_BYTES;
  const kinds = digests + clusters * DIGEST_BYTES;
  const data = roundUp(kinds + clusters, PAGE_BYTES);
  const packed = data + room * clusterSize;
  const end = packed + packedBytes;
  return { places, lengths, starts, slots, known, digests, kinds, data, packed, end };
};

/** Bytes of one slab. */
export const slabBytes = (layout: SlabLayout): number => offsets(layout).end;

/** Memory for one slab: its clusters lie on page boundaries. */
export const allocateSlab = (layout: SlabLayout): SharedBytes => allocatePages(slabBytes(layout));

/**
 * A contiguous run of clusters on its way through the stages. One object per slab and thread, used
 * again and again: a stage may not keep it, or any view of it, after it returns.
 */
export class Batch {
  /** Which slab this is. */
  readonly slab: number;
  readonly layout: SlabLayout;
  /** The clusters' bytes, cluster i at i × cluster size where all have room, otherwise at `startOf(i)`. */
  readonly data: Buffer;
  /** Encoded payloads. */
  readonly packed: Buffer;
  /** One of `Kind` per cluster. */
  readonly kinds: Uint8Array;
  /** Bytes of each payload. */
  readonly lengths: Uint32Array;
  /** Which of the 32 parts of a partial cluster are stored, lowest bit first: in place of a length. */
  readonly parts: Uint32Array;
  /** Where each payload begins in `packed`. */
  readonly starts: Uint32Array;
  /** Host byte offset of each cluster or payload in the store. */
  readonly places: Float64Array;
  /** 16 bytes per cluster: the digest of what is in `data`. */
  readonly digests: Buffer;
  /** 16 bytes per cluster: the parent's digest (take) or the recorded one (restore). */
  readonly known: Buffer;
  /** All of the slab. */
  readonly whole: Buffer;
  readonly #head: Float64Array;
  /** Which cluster's bytes `data` holds where; undefined where each has a place of its own. */
  readonly #slots: Uint32Array | undefined;
  /** `kinds`, four clusters at a time; the last few of an odd number are left out. */
  readonly #kindWords: Uint32Array;
  /** Views of single clusters, made when first asked for: making one takes as long as digesting 4 KiB. */
  readonly #clusters: Buffer[] = [];

  constructor(slab: number, layout: SlabLayout, { memory, start }: SharedBytes) {
    const at = offsets(layout);
    const { clusters, room = clusters } = layout;
    this.slab = slab;
    this.layout = layout;
    this.whole = Buffer.from(memory, start, at.end);
    this.#head = new Float64Array(memory, start, HEAD_WORDS);
    this.places = new Float64Array(memory, start + at.places, clusters);
    this.lengths = new Uint32Array(memory, start + at.lengths, clusters);
    this.parts = this.lengths;
    this.starts = new Uint32Array(memory, start + at.starts, clusters);
    if (room < clusters) this.#slots = new Uint32Array(memory, start + at.slots, clusters);
    this.known = Buffer.from(memory, start + at.known, clusters * DIGEST_BYTES);
    this.digests = Buffer.from(memory, start + at.digests, clusters * DIGEST_BYTES);
    this.kinds = new Uint8Array(memory, start + at.kinds, clusters);
    this.#kindWords = new Uint32Array(memory, start + at.kinds, clusters >>> 2);
    this.data = Buffer.from(memory, start + at.data, room * layout.clusterSize);
    this.packed = Buffer.from(memory, start + at.packed, layout.packedBytes);
  }

  /** Makes this batch stand for image bytes [offset, offset + length); all clusters plain. */
  begin(offset: number, length: number): void {
    this.#head[0] = offset;
    this.#head[1] = length;
    this.live = this.count;
    this.digested = false;
    this.unproven = false;
    this.#head[5] = 0;
    this.#head[6] = 0;
    this.kinds.fill(Kind.plain, 0, this.count);
  }

  /** Clusters [from, to) are not to be looked at: they are as `known` says. */
  omit(from: number, to: number): void {
    this.kinds.fill(Kind.same, from, to);
    this.known.copy(this.digests, from * DIGEST_BYTES, from * DIGEST_BYTES, to * DIGEST_BYTES);
    this.#head[6] = (this.#head[6] as number) + (to - from) * this.layout.clusterSize;
  }

  /** Gives cluster `i` room for its bytes; false when there is none left. */
  hold(i: number): boolean {
    if (!this.#slots) return true;
    const held = this.#head[5] as number;
    if (held === this.layout.room) return false;
    this.#slots[i] = held;
    this.#head[5] = held + 1;
    return true;
  }

  /** How many clusters were given room; 0 where each has a place of its own. */
  get held(): number {
    return this.#slots ? (this.#head[5] as number) : 0;
  }

  /** Which of the places in `data` is cluster `i`'s. Where not all have room, it must have been given some. */
  #slotOf(i: number): number {
    return this.#slots ? (this.#slots[i] as number) : i;
  }

  /** Where in `data` the bytes of cluster `i` begin, in a slab in which it has room. */
  startOf(i: number): number {
    return this.#slotOf(i) * this.layout.clusterSize;
  }

  /** Cuts the batch to its first `clusters` clusters. Omitted ones must be the only ones that are `same` so far. */
  shorten(clusters: number): void {
    if (this.#head[6] !== 0) {
      const rest = this.kinds.subarray(clusters, this.count);
      const omitted = rest.reduce((sum, kind) => sum + (kind === Kind.same ? 1 : 0), 0);
      this.#head[6] = (this.#head[6] as number) - omitted * this.layout.clusterSize;
    }
    this.#head[1] = Math.min(this.length, clusters * this.layout.clusterSize);
    this.live = clusters;
  }

  /** First image byte, a multiple of the cluster size. */
  get offset(): number {
    return this.#head[0] as number;
  }

  /** Image bytes in the batch; only the last cluster of an image may be short. */
  get length(): number {
    return this.#head[1] as number;
  }

  /** Image bytes of the clusters that were not omitted. */
  get bytes(): number {
    return this.length - (this.#head[6] as number);
  }

  /** Number of clusters. */
  get count(): number {
    return Math.ceil(this.length / this.layout.clusterSize);
  }

  /** Clusters that still have to go on; a batch with none ends where it is. */
  get live(): number {
    return this.#head[2] as number;
  }

  set live(count: number) {
    this.#head[2] = count;
  }

  /**
   * True when `digests` are those of the image. A cluster whose digest is the parent's need not be in
   * `data` then. Whoever changes `data` sets this to false.
   */
  get digested(): boolean {
    return this.#head[3] !== 0;
  }

  set digested(yes: boolean) {
    this.#head[3] = yes ? 1 : 0;
  }

  /** True when there are no digests to hold this batch against, though others of the run have some. */
  get unproven(): boolean {
    return this.#head[4] !== 0;
  }

  set unproven(yes: boolean) {
    this.#head[4] = yes ? 1 : 0;
  }

  /** True when some cluster is of this kind. */
  has(kind: number): boolean {
    const found = this.kinds.indexOf(kind);
    return found >= 0 && found < this.count;
  }

  /**
   * The first cluster from `from` on that is not `same`; `count` when there is none. In most batches of
   * most takes a loop over all clusters would cost more than what is done for the few.
   */
  nextLive(from: number): number {
    const { kinds, count } = this;
    const words = this.#kindWords;
    let next = from;
    while (next % 4 !== 0 && next < count && kinds[next] === Kind.same) next += 1;
    if (next % 4 === 0) {
      let word = next / 4;
      while (words[word] === ALL_SAME) word += 1;
      next = 4 * word;
    }
    while (next < count && kinds[next] === Kind.same) next += 1;
    return Math.min(next, count);
  }

  /** Bytes of cluster `i` that belong to the image. */
  lengthOf(i: number): number {
    return Math.min(this.layout.clusterSize, this.length - i * this.layout.clusterSize);
  }

  /** True when clusters [from, to) have the digests that are known of them. */
  isKnown(from: number, to: number): boolean {
    const [start, end] = [from * DIGEST_BYTES, to * DIGEST_BYTES];
    return this.digests.compare(this.known, start, end, start, end) === 0;
  }

  /** The image bytes of cluster `i`: short only at the end of the image. */
  content(i: number): Buffer {
    const length = this.lengthOf(i);
    const cluster = this.cluster(i);
    return length === cluster.length ? cluster : cluster.subarray(0, length);
  }

  /** Cluster `i` whole, with its padding. */
  cluster(i: number): Buffer {
    const slot = this.#slotOf(i);
    const known = this.#clusters[slot];
    if (known) return known;
    const start = this.startOf(i);
    const view = this.data.subarray(start, start + this.layout.clusterSize);
    this.#clusters[slot] = view;
    return view;
  }
}

/** Leases slabs. `lease` waits for one to come back; `close` makes waiting leases fail. */
export class SlabPool {
  readonly layout: SlabLayout;
  readonly memory: readonly SharedBytes[];
  readonly #free: Batch[];
  readonly #waiting: Array<{ resolve(batch: Batch): void; reject(error: Error): void }> = [];
  #closed: Error | undefined;

  /** `stock`: where their memory comes from, if not from the system. */
  constructor(layout: SlabLayout, count: number, stock?: SlabStock) {
    this.layout = layout;
    const bytes = slabBytes(layout);
    this.memory = Array.from({ length: count }, () => stock?.take(bytes) ?? allocateSlab(layout));
    this.#free = this.memory.map((memory, i) => new Batch(i, layout, memory)).reverse();
  }

  /** Slabs that are not leased. */
  get idle(): number {
    return this.#free.length;
  }

  lease(): Promise<Batch> | Batch {
    if (this.#closed) throw this.#closed;
    const batch = this.#free.pop();
    if (batch) return batch;
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  release(batch: Batch): void {
    const next = this.#waiting.shift();
    if (next) next.resolve(batch);
    else this.#free.push(batch);
  }

  close(reason: Error): void {
    this.#closed = reason;
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
  }
}
