// Power cuts: from a store's bytes before a change and the log of its I/O, makes every file that the
// disk could hold after a cut, and judges it.
//
// What a completed sync covers is there. Of the writes after it, each may be there, be missing, or be
// there in part; the unit a disk keeps whole is a sector of 512 bytes.

import type { LogEntry } from '../../disk/index.js';
import type { Random } from './files.js';

const SECTOR_BYTES = 512;

/** A file in the making: bytes up to `length` count, everything after them is zero. */
class Draft {
  readonly #memory: Buffer;
  #length = 0;

  constructor(capacity: number) {
    this.#memory = Buffer.alloc(capacity);
  }

  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#length);
  }

  /** Begins anew as a copy. */
  reset(bytes: Buffer): void {
    this.#memory.set(bytes);
    this.resize(bytes.length);
  }

  resize(length: number): void {
    if (length < this.#length) this.#memory.fill(0, length, this.#length);
    this.#length = length;
  }

  /** Applies an entry; of a write, only the sectors that `keep` wants. */
  apply(entry: LogEntry, keep: (sector: number) => boolean): void {
    if (entry.kind === 'sync' || keep === missing) return;
    if (entry.kind === 'truncate') {
      if (keep(0)) this.resize(entry.length);
      return;
    }
    const { position, data } = entry;
    if (keep === whole) {
      this.resize(Math.max(this.#length, position + data.length));
      data.copy(this.#memory, position);
      return;
    }
    for (let at = 0; at < data.length; ) {
      const sector = Math.floor((position + at) / SECTOR_BYTES);
      const end = Math.min(data.length, (sector + 1) * SECTOR_BYTES - position);
      if (keep(sector)) {
        // The length may have reached the disk before the data that it makes room for.
        this.resize(Math.max(this.#length, position + data.length));
        data.copy(this.#memory, position + at, at, end);
      }
      at = end;
    }
  }
}

const whole = (): boolean => true;
const missing = (): boolean => false;

/** The ways in which one unsynced entry may have reached the disk, one of them by chance. */
const chance = (random: Random): ((sector: number) => boolean) => {
  const way = random.below(4);
  if (way === 0) return whole;
  if (way === 1) return missing;
  if (way === 2) return () => random.below(2) === 0;
  // Some leading sectors only, as when the power goes in the middle of one long write.
  let left = 1 + random.below(16);
  return () => {
    left -= 1;
    return left >= 0;
  };
};

/** The files that a change may leave, cut by cut. */
export class PowerCuts {
  readonly #base: Buffer;
  readonly #log: readonly LogEntry[];
  readonly #draft: Draft;
  /** What a sync has made durable: the entries before `from`, applied. */
  #durable: { readonly from: number; readonly bytes: Buffer };

  constructor(base: Buffer, log: readonly LogEntry[]) {
    const ends = log.map((entry) => {
      if (entry.kind === 'sync') return 0;
      return entry.kind === 'truncate' ? entry.length : entry.position + entry.data.length;
    });
    this.#base = base;
    this.#log = log;
    this.#draft = new Draft(Math.max(base.length, ...ends));
    this.#durable = { from: 0, bytes: base };
  }

  /** Cuts are possible before each entry, and after the last. */
  get count(): number {
    return this.#log.length + 1;
  }

  /** Everything before `cut`, nothing torn: what a killed process leaves. */
  killed(cut: number): Buffer {
    this.#draft.reset(this.#base);
    for (const entry of this.#log.slice(0, cut)) this.#draft.apply(entry, whole);
    return Buffer.from(this.#draft.bytes);
  }

  /** What is certain to be there at `cut`. */
  #durableAt(cut: number): Buffer {
    const from = this.#log.slice(0, cut).findLastIndex(({ kind }) => kind === 'sync') + 1;
    if (from !== this.#durable.from) this.#durable = { from, bytes: this.killed(from) };
    return this.#durable.bytes;
  }

  /**
   * The states that a power cut after `cut` entries may leave: of the unsynced entries all, none, only
   * the first, only the last, all but the last, and `count` choices by chance. A state is lent until
   * the next one is asked for.
   */
  *states(cut: number, random: Random, count: number): Generator<Buffer> {
    const durable = this.#durableAt(cut);
    const unsynced = this.#log.slice(this.#durable.from, cut);
    const last = unsynced.length - 1;
    const make = (keep: (i: number) => (sector: number) => boolean): Buffer => {
      this.#draft.reset(durable);
      for (const [i, entry] of unsynced.entries()) this.#draft.apply(entry, keep(i));
      return this.#draft.bytes;
    };
    yield make(() => whole);
    if (last < 0) return;
    yield make(() => missing);
    if (last > 0) {
      yield make((i) => (i === 0 ? whole : missing));
      yield make((i) => (i === last ? whole : missing));
      yield make((i) => (i === last ? missing : whole));
    }
    for (let n = 0; n < count; n += 1) yield make(() => chance(random));
  }
}

/** Clusters [from, to). */
interface Clusters {
  readonly from: number;
  readonly to: number;
}

/** Host clusters, ascending, as runs of neighbours. */
const runsOf = (clusters: readonly number[]): Clusters[] => {
  const runs: { from: number; to: number }[] = [];
  for (const cluster of clusters) {
    const last = runs.at(-1);
    if (last?.to === cluster) last.to += 1;
    else runs.push({ from: cluster, to: cluster + 1 });
  }
  return runs;
};

/** Host clusters that a store's refcount tree counts as used (specification, "Refcount blocks"). */
const usedClusters = (raw: Buffer, clusterSize: number): number[] => {
  const table = Number(raw.readBigUInt64BE(48));
  const entries = (raw.readUInt32BE(56) * clusterSize) / 8;
  const perBlock = clusterSize / 4;
  const used: number[] = [];
  for (let b = 0; b < entries && table + b * 8 + 8 <= raw.length; b += 1) {
    const block = Number(raw.readBigUInt64BE(table + b * 8));
    if (block === 0) continue;
    for (let i = 0; i < perBlock && block + i * 4 + 4 <= raw.length; i += 1) {
      if (raw.readUInt32BE(block + i * 4) !== 0) used.push(b * perBlock + i);
    }
  }
  return used;
};

/**
 * A store that has been judged in full: what its bytes say is known. Another file that agrees with it
 * on its header and on every cluster that it uses says the same, whatever else it holds.
 */
export class Generation {
  readonly bytes: Buffer;
  readonly #used: readonly Clusters[];
  readonly #clusterSize: number;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.#clusterSize = 2 ** bytes.readUInt32BE(20);
    this.#used = runsOf(usedClusters(bytes, this.#clusterSize));
  }

  /** True when the file at hand has this generation's header. */
  isPublishedIn(state: Buffer): boolean {
    return state.subarray(0, SECTOR_BYTES).equals(this.bytes.subarray(0, SECTOR_BYTES));
  }

  /** The first cluster in use in which the file at hand differs; -1 when it is this generation. */
  firstDifference(state: Buffer): number {
    for (const { from, to } of this.#used) {
      if (this.#isSame(state, from, to)) continue;
      for (let cluster = from; ; cluster += 1) {
        if (!this.#isSame(state, cluster, cluster + 1)) return cluster;
      }
    }
    return -1;
  }

  #isSame(state: Buffer, from: number, to: number): boolean {
    const start = from * this.#clusterSize;
    const end = Math.min(to * this.#clusterSize, this.bytes.length);
    return this.bytes.subarray(start, end).equals(state.subarray(start, end));
  }
}
