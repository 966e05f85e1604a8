// The refcounts of every host cluster (specification, "Host cluster management"), in memory: 4 bytes
// a cluster, so 16 MiB for 256 GiB of 64-KiB clusters. On top of them, the allocator of one
// transaction: it gives out clusters that the published generation does not use, and never one that
// this transaction has freed, since a crash must still find the old generation whole.

import { fault, shortHash } from '../disk/index.js';
import type { Geometry } from './geometry.js';
import { NO_BLOCK, sealOf } from './seal.js';
import type { Store } from './store.js';
import { Table } from './table.js';
import {
  COMPRESSED_HI,
  highOf,
  lowOf,
  offsetOf,
  PACKED_HI_MASK,
  packedOffsetHighBits,
  SECTOR_BYTES,
  TWO_32,
} from './words.js';

/** 32-bit refcounts: 16 bits overflow after a score of snapshots of packed clusters. */
export const REFCOUNT_ORDER = 5;
const REFCOUNT_BYTES = 4;

/** The refcount blocks of a file. */
interface Blocks {
  /** Host byte offset of each, 0 where there is none. */
  readonly offsets: number[];
  readonly digests: Uint8Array[];
  readonly seal: Uint8Array;
  /** Host clusters of blocks for clusters past the file's end, as there are once a file has become shorter. */
  readonly idle: readonly number[];
}

/** A run of adjacent host clusters. */
export interface Run {
  readonly first: number;
  readonly count: number;
}

const MAX_REFCOUNT = 0xffff_ffff;

/** A new snapshot is reached by its own L1 table and, while it is the newest, by the active one. */
const ROOTS_OF_A_TAKE = 2;

/**
 * True when no refcount can overflow in a take of `clusters` guest clusters, where `max` is the largest so far: at
 * worst every one of them refers to the host cluster that has it, once per root. A payload touches no host
 * cluster twice.
 */
export const hasHeadroom = (max: number, clusters: number): boolean =>
  max + ROOTS_OF_A_TAKE * clusters <= MAX_REFCOUNT;

/** The 64-bit word at `at`; anything past 32 bits is as good as the largest. */
const saturated64 = (raw: Buffer, at: number): number =>
  raw.readUInt32BE(at) === 0 ? raw.readUInt32BE(at + 4) : MAX_REFCOUNT;

/** Decodes the refcounts of one block; each is 2^order bits wide. */
export const decodeBlock = (raw: Buffer, order: number): Uint32Array => {
  if (order === REFCOUNT_ORDER) {
    const words = Buffer.from(new ArrayBuffer(raw.length));
    words.set(raw);
    words.swap32();
    return new Uint32Array(words.buffer);
  }
  const entries = (raw.length * 8) >>> order;
  const out = new Uint32Array(entries);
  for (let i = 0; i < entries; i += 1) {
    if (order === 4) out[i] = raw.readUInt16BE(i * 2);
    else if (order === 3) out[i] = raw[i] as number;
    else if (order === 6) out[i] = saturated64(raw, i * 8);
    else {
      const bits = 1 << order;
      const perByte = 8 / bits;
      out[i] =
        ((raw[Math.floor(i / perByte)] as number) >>> ((i % perByte) * bits)) & ((1 << bits) - 1);
    }
  }
  return out;
};

export class Refcounts {
  readonly #geometry: Geometry;
  readonly #path: string;
  readonly blockEntries: number;
  /** Host byte offset of each refcount block, 0 where there is none. */
  readonly blockOffsets: number[];
  /** 1 for a refcount block whose content differs from the published one. */
  #changed: Uint8Array;
  readonly #blockShift: number;
  #counts: Uint32Array;
  /** 1 for a cluster that may not be given out: used by the old generation or by this one. */
  #taken: Uint8Array;
  #end: number;
  #cursor = 0;
  /** Of each refcount block as it is in the file. */
  readonly #digests: Uint8Array[];
  #seal: Uint8Array;
  readonly #idle: readonly number[];

  private constructor(
    store: Store,
    { offsets: blockOffsets, digests, seal, idle }: Blocks,
    counts: Uint32Array,
    end: number,
  ) {
    this.#digests = digests;
    this.#seal = seal;
    this.#idle = idle;
    this.#geometry = store.geometry;
    this.#path = store.path;
    this.blockEntries = (store.geometry.clusterSize * 8) >>> store.header.refcountOrder;
    this.blockOffsets = blockOffsets;
    this.#counts = counts;
    this.#end = end;
    this.#blockShift = Math.log2(this.blockEntries);
    this.#changed = new Uint8Array(Math.ceil(counts.length / this.blockEntries) + 1);
    this.#taken = new Uint8Array(counts.length);
    for (let i = 0; i < end; i += 1) if (counts[i] !== 0) this.#taken[i] = 1;
  }

  /** Reads all refcounts of a store (any width). */
  static load(store: Store): Refcounts {
    const { geometry, header, path } = store;
    const fileClusters = geometry.clusters(store.file.size());
    const perBlock = (geometry.clusterSize * 8) >>> header.refcountOrder;
    const table = readTable(store);
    const words = Table.decode(table);
    const digests: Uint8Array[] = [];
    const blocks = Math.min(words.length, Math.ceil(fileClusters / perBlock));
    const counts = new Uint32Array(Math.max(blocks * perBlock, 1024));
    const idle: number[] = [];
    for (let b = blocks; b < words.length; b += 1) {
      if (!words.isClear(b)) idle.push(geometry.hostCluster(offsetOf(words.hi(b), words.lo(b))));
    }
    const offsets: number[] = [];
    let end = 0;
    for (let b = 0; b < blocks; b += 1) {
      const offset = offsetOf(words.hi(b), words.lo(b));
      offsets.push(offset);
      digests.push(NO_BLOCK);
      if (offset === 0) continue;
      if (!geometry.isAligned(offset)) {
        throw fault('store-damaged', {
          path,
          problem: `refcount block ${b} is not on a cluster boundary`,
        });
      }
      const raw = store.readCluster(offset, 'the refcount block');
      digests[b] = shortHash(raw);
      const block = decodeBlock(raw, header.refcountOrder);
      counts.set(block, b * perBlock);
      for (let i = perBlock - 1; i >= 0; i -= 1) {
        if (block[i] !== 0) {
          end = b * perBlock + i + 1;
          break;
        }
      }
    }
    return new Refcounts(
      store,
      { offsets, digests, seal: sealOf(table, digests), idle },
      counts,
      end,
    );
  }

  /**
   * 16 bytes that stand for the refcounts as they are in the file: what was read of them, and after `relocate` what
   * it wrote.
   */
  get seal(): Uint8Array {
    return this.#seal;
  }

  /** One past the last cluster in use: where the file grows. */
  get end(): number {
    return this.#end;
  }

  get(cluster: number): number {
    return this.#counts[cluster] ?? 0;
  }

  /** The largest refcount there is. */
  max(): number {
    let max = 0;
    for (let i = 0; i < this.#end; i += 1)
      if ((this.#counts[i] as number) > max) max = this.#counts[i] as number;
    return max;
  }

  #grow(clusters: number): void {
    if (clusters <= this.#counts.length) return;
    const length = Math.max(clusters, Math.ceil(this.#counts.length * 1.5));
    const counts = new Uint32Array(length);
    counts.set(this.#counts);
    this.#counts = counts;
    const taken = new Uint8Array(length);
    taken.set(this.#taken);
    this.#taken = taken;
    const changed = new Uint8Array(Math.ceil(length / this.blockEntries) + 1);
    changed.set(this.#changed);
    this.#changed = changed;
  }

  /** Runs of clusters below `end` that nothing refers to, in order. */
  *unused(): Generator<Run> {
    const counts = this.#counts.subarray(0, this.#end);
    let first = counts.indexOf(0);
    while (first >= 0) {
      let end = first + 1;
      while (end < counts.length && counts[end] === 0) end += 1;
      yield { first, count: end - first };
      first = counts.indexOf(0, end);
    }
  }

  /** Adds to a cluster's refcount; a count below zero means damage, not a choice. */
  bump(cluster: number, delta: number): void {
    const count = this.get(cluster) + delta;
    if (count > MAX_REFCOUNT) {
      throw fault('store-full', { path: this.#path, limit: 'a refcount would exceed 32 bits' });
    }
    if (count < 0 || cluster >= this.#end) {
      throw fault('store-damaged', {
        path: this.#path,
        problem: `the refcount of cluster ${cluster} does not match the tables`,
      });
    }
    this.#counts[cluster] = count;
    this.#changed[cluster >>> this.#blockShift] = 1;
  }

  /** Adds to the refcounts of the clusters that host bytes [offset, offset + length) touch. */
  bumpBytes(offset: number, length: number, delta: number): void {
    if (length === 0) return;
    const last = this.#geometry.hostCluster(offset + length - 1);
    for (let c = this.#geometry.hostCluster(offset); c <= last; c += 1) this.bump(c, delta);
  }

  /**
   * Adds to the refcounts of all clusters that the entries of an L2 table lead to. Every take does this for every entry
   * of its image, so it is one loop over halves, in which words are taken apart as decodePacked and offsetOf do.
   */
  bumpEntries({ halves }: Table, delta: number): void {
    const { clusterSize, clusterBits } = this.#geometry;
    const counts = this.#counts;
    const changed = this.#changed;
    const shift = this.#blockShift;
    const end = this.#end;
    const bits = packedOffsetHighBits(clusterBits);
    const mask = (1 << bits) - 1;
    for (let i = 0; i < halves.length; i += 2) {
      const lo = halves[i] as number;
      const hi = halves[i + 1] as number;
      if ((lo | hi) === 0) continue;
      let first: number;
      let last: number;
      if ((hi & COMPRESSED_HI) !== 0) {
        const at = (hi & mask) * TWO_32 + lo;
        const sectors = (hi & PACKED_HI_MASK) >>> bits;
        first = Math.floor(at / clusterSize);
        last = Math.floor((Math.floor(at / SECTOR_BYTES) + sectors) / (clusterSize / SECTOR_BYTES));
      } else {
        const at = offsetOf(hi, lo);
        if (at === 0) continue;
        first = Math.floor(at / clusterSize);
        last = first;
      }
      for (let cluster = first; cluster <= last; cluster += 1) {
        const count = (counts[cluster] as number) + delta;
        // What is not as it should be is told by the one that looks closely.
        if (!(count >= 0 && count <= MAX_REFCOUNT && cluster < end)) this.bump(cluster, delta);
        counts[cluster] = count;
        changed[cluster >>> shift] = 1;
      }
    }
  }

  #take(first: number, count: number): Run {
    this.#grow(first + count);
    this.#taken.fill(1, first, first + count);
    this.#end = Math.max(this.#end, first + count);
    return { first, count };
  }

  /** The next free run, of 1 to `most` clusters: a gap, or the end of the file. */
  nextRun(most: number): Run {
    const found = this.#taken.subarray(0, this.#end).indexOf(0, this.#cursor);
    const first = found < 0 ? this.#end : found;
    let count = 1;
    while (count < most && (first + count >= this.#end || this.#taken[first + count] === 0))
      count += 1;
    this.#cursor = first + count;
    return this.#take(first, count);
  }

  /** A run of exactly `count` adjacent clusters, as tables of several clusters need. */
  adjacent(count: number): Run {
    let first = 0;
    for (;;) {
      const found = this.#taken.subarray(0, this.#end).indexOf(0, first);
      if (found < 0) return this.#take(this.#end, count);
      let length = 1;
      while (length < count && (found + length >= this.#end || this.#taken[found + length] === 0))
        length += 1;
      if (length === count) return this.#take(found, count);
      first = found + length;
    }
  }

  /** Returns clusters that `nextRun` gave and nobody has written. */
  giveBack(run: Run): void {
    if (run.count === 0) return;
    this.#taken.fill(0, run.first, run.first + run.count);
    this.#cursor = Math.min(this.#cursor, run.first);
    if (run.first + run.count === this.#end) this.#end = run.first;
  }

  /**
   * Moves every changed refcount block, and the table, to new places, until nothing more changes:
   * moving a block changes refcounts, which may lie in yet another block. The old table is given
   * up. Returns the new table's place; `write` puts bytes at a host offset.
   */
  relocate(
    oldTable: { offset: number; clusters: number },
    write: (at: number, raw: Buffer) => void,
  ): {
    offset: number;
    clusters: number;
  } {
    const { clusterSize } = this.#geometry;
    const moved = new Set<number>();
    for (const cluster of this.#idle) this.bump(cluster, -1);
    this.bumpBytes(oldTable.offset, oldTable.clusters * clusterSize, -1);
    let table: Run | undefined;
    for (;;) {
      if (this.#moveChangedBlocks(moved)) continue;
      // Of all blocks that there are: some may be past the last cluster in use.
      const clusters = Math.max(1, Math.ceil((this.blockOffsets.length * 8) / clusterSize));
      if (table && table.count >= clusters) break;
      if (table) this.bumpBytes(table.first * clusterSize, table.count * clusterSize, -1);
      table = this.adjacent(clusters);
      this.bumpBytes(table.first * clusterSize, table.count * clusterSize, 1);
    }
    for (const block of moved) {
      const raw = this.#encodeBlock(block);
      while (this.#digests.length < block) this.#digests.push(NO_BLOCK);
      this.#digests[block] = shortHash(raw);
      write(this.blockOffsets[block] as number, raw);
    }
    const words = Table.empty((table.count * clusterSize) / 8);
    this.blockOffsets.forEach((offset, i) => {
      words.set(i, highOf(offset), lowOf(offset));
    });
    const raw = words.encode();
    write(table.first * clusterSize, raw);
    this.#seal = sealOf(raw, this.#digests);
    return { offset: table.first * clusterSize, clusters: table.count };
  }

  /** Moves the changed blocks that are not in `moved` yet; false when there was none. */
  #moveChangedBlocks(moved: Set<number>): boolean {
    const before = moved.size;
    for (let block = 0; block < this.#changed.length; block += 1) {
      if (this.#changed[block] === 0 || moved.has(block)) continue;
      moved.add(block);
      this.#moveBlock(block);
    }
    return moved.size > before;
  }

  #moveBlock(block: number): void {
    while (this.blockOffsets.length <= block) this.blockOffsets.push(0);
    const old = this.blockOffsets[block] as number;
    const run = this.nextRun(1);
    this.blockOffsets[block] = run.first * this.#geometry.clusterSize;
    this.bump(run.first, 1);
    if (old !== 0) this.bump(this.#geometry.hostCluster(old), -1);
  }

  #encodeBlock(block: number): Buffer {
    const raw = Buffer.alloc(this.#geometry.clusterSize);
    const first = block * this.blockEntries;
    const counts = this.#counts.subarray(first, first + this.blockEntries);
    raw.set(new Uint8Array(counts.buffer, counts.byteOffset, counts.length * REFCOUNT_BYTES));
    return raw.swap32();
  }
}

const readTable = (store: Store): Buffer => {
  const { refcountTableOffset, refcountTableClusters } = store.header;
  const raw = Buffer.alloc(refcountTableClusters * store.geometry.clusterSize);
  store.file.read(raw, refcountTableOffset);
  return raw;
};
