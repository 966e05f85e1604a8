// Follows every reference from the roots of a store to its data. First all L1 tables are read, so
// that each L2 table knows how many entries share it; then every L2 table is read once, in file
// order, and what it holds counts as often as the table is shared.

import { countBitmaps } from './bitmaps.js';
import type { Census } from './census.js';
import { type Findings, hex } from './findings.js';
import { MAX_L1_BYTES } from './header.js';
import { extendedKind } from './l2.js';
import type { Store } from './store.js';
import { Table } from './table.js';
import {
  COMPRESSED_HI,
  COPIED_HI,
  decodePacked,
  hasReservedBits,
  hasReservedL1Bits,
  offsetOf,
  ZERO_LO,
} from './words.js';

/** An L1 table. Snapshots may share one; the active table is never a snapshot's. */
interface Root {
  readonly offset: number;
  readonly entries: number;
  readonly active: boolean;
  readonly what: string;
  uses: number;
}

export class References {
  readonly #store: Store;
  readonly #census: Census;
  readonly #findings: Findings;
  /** Entries with COPIED set in tables that only snapshots use, or without a cluster. */
  #strayCopied = 0;

  constructor(store: Store, census: Census, findings: Findings) {
    this.#store = store;
    this.#census = census;
    this.#findings = findings;
  }

  /** Counts everything; yields after each table, so that a long check can be stopped. */
  *count(): Generator<void> {
    const { header, snapshotTableBytes } = this.#store;
    const roots = this.#roots();
    const claimed = roots.filter((root) => this.#claimRoot(root));
    if (snapshotTableBytes > 0) {
      const { snapshotsOffset } = header;
      const what = 'the snapshot table';
      this.#census.claim('snapshotTable', snapshotsOffset, snapshotTableBytes, what);
    }
    yield* countBitmaps(this.#store, this.#census, this.#findings);
    for (const root of claimed) {
      this.#countL1(root);
      yield;
    }
    const tables = this.#census.l2Tables();
    for (let i = 0; i < tables.clusters.length; i += 1) {
      this.#countL2(tables.clusters[i] as number, tables.uses[i] as number);
      yield;
    }
    if (this.#strayCopied > 0) {
      this.#findings.add(
        'note',
        'copied',
        `${this.#strayCopied} entries of snapshots, or without a cluster, have COPIED set, which means nothing there.`,
      );
    }
  }

  #roots(): readonly Root[] {
    const { header, snapshots } = this.#store;
    const roots: Root[] = [
      {
        offset: header.l1Offset,
        entries: header.l1Entries,
        active: true,
        what: 'the active L1 table',
        uses: 1,
      },
    ];
    const known = new Map<string, Root>();
    for (const { entry } of snapshots) {
      const key = `${entry.l1Offset}:${entry.l1Entries}`;
      const same = known.get(key);
      if (same) {
        same.uses += 1;
        continue;
      }
      const root = {
        offset: entry.l1Offset,
        entries: entry.l1Entries,
        active: false,
        what: `the L1 table of snapshot ${JSON.stringify(entry.tag)}`,
        uses: 1,
      };
      known.set(key, root);
      roots.push(root);
    }
    return roots.filter(({ entries }) => entries > 0);
  }

  #claimRoot({ offset, entries, what, uses }: Root): boolean {
    if (entries * 8 > MAX_L1_BYTES) {
      this.#findings.corruption('disk-size', `${what} is larger than 32 MiB.`, offset);
      return false;
    }
    return this.#census.claim('l1', offset, entries * 8, what, uses);
  }

  #countL1(root: Root): void {
    const raw = Buffer.alloc(root.entries * 8);
    this.#store.file.read(raw, root.offset);
    const table = Table.decode(raw);
    for (let i = 0; i < table.length; i += 1) {
      if (!table.isClear(i)) this.#countL1Entry(root, i, table.hi(i), table.lo(i));
    }
  }

  #countL1Entry(root: Root, index: number, hi: number, lo: number): void {
    const place = root.offset + index * 8;
    const name = `entry ${index} of ${root.what}`;
    if (hasReservedL1Bits(hi, lo)) {
      this.#findings.corruption('reserved-bits', `${name} has reserved bits set.`, place);
    }
    const copied = (hi & COPIED_HI) !== 0;
    const offset = offsetOf(hi, lo);
    if (offset === 0) {
      if (copied && root.active) {
        this.#findings.corruption('copied', `${name} has COPIED set but leads nowhere.`, place);
      } else if (copied) this.#strayCopied += 1;
      return;
    }
    const { geometry } = this.#store;
    const what = `the L2 table of ${name}`;
    if (!this.#census.isPossible(offset, geometry.clusterSize, what)) return;
    const cluster = geometry.hostCluster(offset);
    this.#census.referL2(cluster, root.uses, root.active, what);
    if (!root.active) this.#strayCopied += copied ? 1 : 0;
    else if (copied !== this.#census.isSingle(cluster)) {
      this.#findings.corruption('copied', copiedMessage(name, copied), place);
    }
  }

  #countL2(cluster: number, uses: number): void {
    const { clusterSize, l2Entries, l2EntryBytes, extendedL2 } = this.#store.geometry;
    const offset = cluster * clusterSize;
    const raw = Buffer.alloc(clusterSize);
    this.#store.file.read(raw, offset);
    const table = Table.decode(raw);
    const at = { offset, uses, active: this.#census.isActive(cluster), entryBytes: l2EntryBytes };
    for (let i = 0; i < l2Entries; i += 1) {
      const word = extendedL2 ? 2 * i : i;
      const hi = table.hi(word);
      const lo = table.lo(word);
      if (extendedL2) {
        this.#checkSubclusters(at, i, [hi, lo, table.hi(word + 1), table.lo(word + 1)]);
      }
      if ((hi | lo) === 0) continue;
      if ((hi & COMPRESSED_HI) !== 0) this.#countPacked(at, i, hi, lo);
      else this.#countStandard(at, i, hi, lo);
    }
  }

  /** What is wrong with the second word of an extended entry. */
  #checkSubclusters(
    at: TableAt,
    index: number,
    [hi, lo, zeros, stored]: readonly [number, number, number, number],
  ): void {
    const kind = extendedKind(hi, lo, zeros, stored);
    if (kind === 'packed' && (zeros | stored) !== 0) {
      this.#wrong('reserved-bits', at, index, 'is compressed, but tells of subclusters');
    } else if (kind === 'broken') {
      const problem =
        (stored & zeros) === 0
          ? 'has stored subclusters without a cluster'
          : 'has subclusters that are stored and read as zeros';
      this.#wrong('subclusters', at, index, problem);
    }
    if (kind !== 'packed' && (lo & ZERO_LO) !== 0) {
      this.#wrong('reserved-bits', at, index, 'has the zero bit set beside its subclusters');
    }
  }

  #countStandard(at: TableAt, index: number, hi: number, lo: number): void {
    if (hasReservedBits(hi, lo)) {
      this.#wrong('reserved-bits', at, index, 'has reserved bits set');
    }
    if ((lo & ZERO_LO) !== 0 && this.#store.header.version === 2) {
      this.#wrong(
        'reserved-bits',
        at,
        index,
        'has the zero bit set, which version 2 does not know',
      );
    }
    const copied = (hi & COPIED_HI) !== 0;
    const offset = offsetOf(hi, lo);
    if (copied && (offset === 0 || !at.active)) this.#strayCopied += 1;
    if (offset === 0) return;
    const { clusterSize } = this.#store.geometry;
    const cluster = offset / clusterSize;
    if (!Number.isInteger(cluster)) {
      const problem = `leads to ${hex(offset)}, which is not on a cluster boundary`;
      this.#wrong('misaligned', at, index, problem);
      return;
    }
    if (cluster >= this.#census.clusters) {
      this.#wrong('outside-file', at, index, `leads to ${hex(offset)}, outside the file`);
      return;
    }
    if (!this.#census.referData(cluster, at.uses)) {
      this.#census.overlap(cluster, `the cluster of ${entryName(at, index)}`);
    }
    if (at.active && copied !== this.#census.isSingle(cluster)) {
      const place = at.offset + index * at.entryBytes;
      this.#findings.corruption('copied', copiedMessage(entryName(at, index), copied), place);
    }
  }

  #countPacked(at: TableAt, index: number, hi: number, lo: number): void {
    const { geometry } = this.#store;
    if ((hi & COPIED_HI) !== 0) {
      this.#wrong('copied', at, index, 'has COPIED set, but is compressed');
    }
    const { offset, length } = decodePacked(hi, lo, geometry.clusterBits);
    const last = geometry.hostCluster(offset + length - 1);
    if (offset >= this.#census.fileBytes || last >= this.#census.clusters) {
      this.#wrong('outside-file', at, index, `leads to ${hex(offset)}, outside the file`);
      return;
    }
    for (let cluster = geometry.hostCluster(offset); cluster <= last; cluster += 1) {
      if (!this.#census.referData(cluster, at.uses)) {
        this.#census.overlap(cluster, `the payload of ${entryName(at, index)}`);
      }
    }
  }

  #wrong(
    code: 'reserved-bits' | 'misaligned' | 'outside-file' | 'copied' | 'subclusters',
    at: TableAt,
    index: number,
    problem: string,
  ): void {
    const message = `${entryName(at, index)} ${problem}.`;
    this.#findings.corruption(code, message, at.offset + index * at.entryBytes);
  }
}

/** An L2 table under count. */
interface TableAt {
  readonly offset: number;
  readonly uses: number;
  readonly active: boolean;
  /** Bytes of one of its entries. */
  readonly entryBytes: number;
}

const entryName = (at: TableAt, index: number): string =>
  `entry ${index} of the L2 table at ${hex(at.offset)}`;

const copiedMessage = (name: string, copied: boolean): string =>
  copied
    ? `${name} has COPIED set, but the refcount is not 1.`
    : `${name} does not have COPIED set, but the refcount is 1.`;
