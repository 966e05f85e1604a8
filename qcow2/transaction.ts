// One change of a store, all or nothing. Everything new goes to clusters that the published
// generation does not use; when all of it is durable, one write of the header's sector publishes it.
// Whatever happens before that write leaves the old store, whatever happens after it the new one.

import { fault, type HostOffset, hostOffset } from '../disk/index.js';
import { proveRefcounts } from './check.js';
import { type Extension, encodeExtensions, isFeatureNames } from './extensions.js';
import { tableMisfit } from './fits.js';
import {
  encodeHeader,
  HEADER_BYTES,
  type Header,
  MAX_L1_BYTES,
  MAX_SNAPSHOTS,
  PUBLISH_BYTES,
} from './header.js';
import { Placer } from './placer.js';
import { claimedDigestL1, encodeRecord } from './record.js';
import { Recount } from './recount.js';
import { hasHeadroom, REFCOUNT_ORDER, Refcounts } from './refcounts.js';
import { Roots, rootsOf } from './roots.js';
import { encodeSeal, isSeal } from './seal.js';
import type { Snapshot } from './snapshot.js';
import { encodeSnapshots, type SnapshotEntry } from './snapshots.js';
import type { Store } from './store.js';
import { Table } from './table.js';
import type { TableSink } from './tree.js';
import { highOf, lowOf, offsetOf } from './words.js';

/** A snapshot as the next generation shall have it; with `l1`, its table is new. */
export interface NextSnapshot extends Snapshot {
  readonly l1?: Table;
}

/** What is punched at once: the length of one such call is logged in 32 bits. */
const MAX_PUNCH_BYTES = 2 ** 30;

export class Transaction implements TableSink {
  readonly #store: Store;
  readonly #roots: Roots;
  readonly refcounts: Refcounts;
  readonly placer: Placer;
  readonly #recount: Recount;
  #metadataBytes = 0;
  #publishing = false;
  /** Clusters of the file as it was published when this began. */
  readonly #before: number;

  private constructor(store: Store, refcounts: Refcounts, proven: boolean) {
    this.#store = store;
    this.#roots = new Roots(store);
    this.#recount = new Recount(store, this.#roots, refcounts, proven);
    this.refcounts = refcounts;
    this.#before = refcounts.end;
    this.placer = new Placer(store.path, store.geometry, refcounts);
  }

  /** Begins a change of a store opened for writing, of which the caller is the only writer. */
  static begin(store: Store): Transaction {
    const { path, header } = store;
    if (!store.facts || header.version !== 3) throw fault('store-foreign', { path });
    if (header.refcountOrder !== REFCOUNT_ORDER) {
      throw fault('store-unsupported', {
        path,
        feature: `${2 ** header.refcountOrder}-bit refcounts`,
      });
    }
    const refcounts = Refcounts.load(store);
    // Where a count is too low, what looks free is another snapshot's: so they are proven before a byte is written. As
    // the last commit left them they are right; after other programs, or damage, the tables must say so.
    const sealed = store.extensions.find(isSeal)?.data;
    const whole = store.file.size() >= refcounts.end * store.geometry.clusterSize;
    const proven = !sealed?.equals(refcounts.seal) || !whole;
    if (proven) proveRefcounts(store);
    return new Transaction(store, refcounts, proven);
  }

  /** Refuses a take of `clusters` guest clusters that could overflow a limit, before the first byte is written. */
  checkHeadroom(clusters: number): void {
    const { path } = this.#store;
    this.#checkTables(this.#store.snapshots);
    if (this.#store.snapshots.length >= MAX_SNAPSHOTS) {
      throw fault('store-full', { path, limit: `it holds ${MAX_SNAPSHOTS} already` });
    }
    if (!hasHeadroom(this.refcounts.max(), clusters)) {
      throw fault('store-full', { path, limit: 'the refcount of a shared cluster is near 2^32' });
    }
  }

  /** The disk becomes as large as the largest snapshot says its own is: none may say so without a table for it. */
  #checkTables(snapshots: readonly NextSnapshot[]): void {
    const { path, header, geometry } = this.#store;
    for (const { entry, l1 } of snapshots) {
      const misfit = l1 ? undefined : tableMisfit(header, geometry, entry);
      if (!misfit) continue;
      const problem = `the L1 table of snapshot ${JSON.stringify(entry.tag)} ${misfit}`;
      throw fault('store-damaged', { path, problem });
    }
  }

  /** Snapshots that were dropped, and whose clusters stay taken: their tables had changed. */
  get leaked(): readonly Snapshot[] {
    return this.#recount.leaked;
  }

  /** Bytes of tables, digests and refcounts written so far. */
  get metadataBytes(): number {
    return this.#metadataBytes;
  }

  #write(offset: number, raw: Buffer): void {
    this.#store.file.write(raw, offset);
    this.#metadataBytes += raw.length;
  }

  writeCluster(raw: Buffer): HostOffset {
    const offset = hostOffset(this.refcounts.nextRun(1).first * this.#store.geometry.clusterSize);
    this.#write(offset, raw);
    return offset;
  }

  /** Writes bytes to as many adjacent clusters as they need; returns the host byte offset. */
  #writeAdjacent(raw: Buffer): number {
    const { geometry } = this.#store;
    const run = this.refcounts.adjacent(Math.max(1, geometry.clusters(raw.length)));
    const offset = run.first * geometry.clusterSize;
    const padded = Buffer.alloc(run.count * geometry.clusterSize);
    raw.copy(padded);
    this.#write(offset, padded);
    return offset;
  }

  /**
   * Makes `next` the store's snapshots, oldest first; the last becomes the active state. Resolves
   * when that is durable. On any failure the old generation stays published. `basis`: the snapshot whose tables what is
   * new in `next` began with.
   */
  async publish(next: readonly NextSnapshot[], basis?: Snapshot): Promise<void> {
    this.#checkTables(next);
    this.#recount.plan(new Set<Snapshot>(next));
    this.placer.finish();
    const diskSize = Math.max(
      0,
      ...next.map(({ entry }) => entry.diskSize ?? this.#store.header.diskSize),
    );
    const placed = next.map((snapshot) => this.#place(snapshot, diskSize));
    // Here, where most of its tables have just been read for the new snapshot.
    if (basis) this.#checkBasis(basis);
    const active = this.#activeTable(next.at(-1), placed.at(-1), diskSize);
    const activeOffset = this.#writeAdjacent(active.encode());
    const table = encodeSnapshots(
      this.#store.path,
      placed.map(({ entry }) => entry),
    );
    const snapshotsOffset = next.length === 0 ? 0 : this.#writeAdjacent(table);
    const tableBytes = table.length;
    this.#recount.count({ placed, active, activeOffset, snapshotsOffset, tableBytes });
    const refcountTable = this.refcounts.relocate(
      {
        offset: this.#store.header.refcountTableOffset,
        clusters: this.#store.header.refcountTableClusters,
      },
      (offset, raw) => this.#write(offset, raw),
    );
    this.#store.file.truncate(this.refcounts.end * this.#store.geometry.clusterSize);
    await this.#store.file.sync();
    this.#publishing = true;
    this.#store.file.write(
      this.#sector({
        ...this.#store.header,
        diskSize,
        l1Entries: active.length,
        l1Offset: activeOffset,
        refcountTableOffset: refcountTable.offset,
        refcountTableClusters: refcountTable.clusters,
        snapshotCount: next.length,
        snapshotsOffset,
        // Never a private bit here: to clear it, "qemu-img check -r" writes a header without snapshots.
        autoclear: 0n,
        headerLength: HEADER_BYTES,
      }),
      0,
    );
    await this.#store.file.sync();
  }

  /**
   * After `publish`: cuts off what nothing refers to at the end of the file, and with `punch` gives all
   * other such clusters back to the file system. A reader of a snapshot that was removed meanwhile finds
   * zeros there, and its digests say so.
   */
  reclaim(punch: boolean): void {
    const { file, geometry } = this.#store;
    const { clusterSize } = geometry;
    for (const { first, count } of this.refcounts.unused()) {
      if (first + count === this.refcounts.end) file.truncate(first * clusterSize);
      else if (punch && !this.#punchRun(first * clusterSize, count * clusterSize)) return;
    }
  }

  /** Punches a run in pieces; false where the file system cannot. */
  #punchRun(offset: number, length: number): boolean {
    for (let at = 0; at < length; at += MAX_PUNCH_BYTES) {
      const piece = Math.min(MAX_PUNCH_BYTES, length - at);
      if (!this.#store.file.punch(offset + at, piece)) return false;
    }
    return true;
  }

  /**
   * Undoes the growth of a change that failed before it published: the old store ends earlier. Failing at that must
   * not hide why the change failed: the store is whole as it is, and the next change uses the space.
   */
  abandon(): void {
    if (this.#publishing) return;
    const { file, geometry } = this.#store;
    try {
      const length = this.#before * geometry.clusterSize;
      if (file.size() > length) file.truncate(length);
    } catch {
      // Nothing that the published header leads to lies there.
    }
  }

  /**
   * When the disk grows past a snapshot's own, the snapshot's digests move to later L1 entries, so
   * that a reader which takes the disk's size for the snapshot's finds zeros there, not digests.
   */
  #makeRoom(snapshot: NextSnapshot, diskSize: number): NextSnapshot {
    const { geometry } = this.#store;
    const needed = geometry.l1Entries(diskSize);
    // Records that claim to have room need not be looked at, true or not: all but the new one, nearly always.
    const claimed = snapshot.l1 ? 0 : (claimedDigestL1(snapshot.entry) ?? needed);
    if (claimed >= needed) return snapshot;
    const { record } = snapshot;
    if (!record || record.digestL1 >= needed) return snapshot;
    const old = snapshot.l1 ?? this.#store.l1(snapshot.entry);
    const shift = needed - record.digestL1;
    const l1 = Table.empty(old.length + shift);
    for (let i = 0; i < old.length; i += 1) {
      l1.set(i < record.digestL1 ? i : i + shift, old.hi(i), old.lo(i));
    }
    const vmStateBytes =
      snapshot.entry.vmStateBytes + shift * geometry.l2Entries * geometry.clusterSize;
    return {
      entry: { ...snapshot.entry, vmStateBytes },
      record: { ...record, digestL1: needed },
      l1,
    };
  }

  /** Writes a snapshot's L1 table, if it needs a new one, and the record that goes with it. */
  #place(snapshot: NextSnapshot, diskSize: number): NextSnapshot {
    const roomy = this.#makeRoom(snapshot, diskSize);
    if (!roomy.l1) return roomy;
    // Tables that are not what they were must not pass for it in their new place.
    const isSound = snapshot.l1 !== undefined || this.#roots.stateOf(snapshot) === 'sound';
    return this.#placeL1(roomy, roomy.l1, isSound);
  }

  /** Writes a new L1 table; the record says what it leads to when that `isSound`. */
  #placeL1({ entry: old, record }: NextSnapshot, l1: Table, isSound: boolean): NextSnapshot {
    if (l1.byteLength > MAX_L1_BYTES) {
      throw fault('store-full', {
        path: this.#store.path,
        limit: 'its L1 table would be larger than 32 MiB; use larger clusters',
      });
    }
    this.#clearCopied(l1);
    const entry: SnapshotEntry = {
      ...old,
      l1Offset: this.#writeAdjacent(l1.encode()),
      l1Entries: l1.length,
    };
    if (!record) return { entry, record, l1 };
    const noted = isSound
      ? { ...record, tables: this.#roots.digestOf(l1, record.digestL1) }
      : record;
    return { entry: { ...entry, extra: encodeRecord(noted, entry) }, record: noted, l1 };
  }

  /**
   * Another program may have left COPIED bits in tables that a snapshot now shares; such a table is
   * copied without them.
   */
  #clearCopied(l1: Table): void {
    for (const [i, offset] of rootsOf(l1)) {
      const { table, copied } = this.#roots.look(offset);
      const fresh = copied ? this.writeCluster(table.encode()) : offset;
      l1.set(i, highOf(fresh), lowOf(fresh));
    }
  }

  /** Refuses what was built upon a snapshot whose tables are not those that it was made with. */
  #checkBasis(snapshot: Snapshot): void {
    if (this.#roots.stateOf(snapshot) !== 'changed') return;
    const { path } = this.#store;
    const name = JSON.stringify(snapshot.entry.tag);
    const problem = `the tables of snapshot ${name} are not those that it was taken with`;
    throw fault('store-damaged', { path, problem });
  }

  /** The active L1: the disk part of the newest snapshot's, as long as the disk. */
  #activeTable(
    newest: NextSnapshot | undefined,
    placed: NextSnapshot | undefined,
    diskSize: number,
  ): Table {
    const { geometry } = this.#store;
    const entries = Math.max(1, geometry.l1Entries(diskSize));
    if (!newest || !placed) return Table.empty(entries);
    const own = geometry.l1Entries(newest.entry.diskSize ?? diskSize);
    const table = (placed.l1 ?? this.#store.l1(placed.entry)).resized(own).resized(entries);
    for (let i = 0; i < entries; i += 1) {
      const offset = offsetOf(table.hi(i), table.lo(i));
      table.set(i, highOf(offset), lowOf(offset));
    }
    return table;
  }

  /** The header's sector: fields and extensions, exactly what one write publishes. */
  #sector(header: Header): Buffer {
    const privateBits = header.incompatible & ~0xffn;
    const kept: Extension[] = this.#store.extensions.filter(
      (extension) => !isSeal(extension) && (privateBits !== 0n || !isFeatureNames(extension)),
    );
    const encode = (extensions: readonly Extension[]): Buffer =>
      Buffer.concat([encodeHeader(header), encodeExtensions(extensions)]);
    const sealed = encode([...kept, encodeSeal(this.refcounts.seal)]);
    // Where the seal has no room, the next change proves the refcounts again.
    const raw = sealed.length > PUBLISH_BYTES ? encode(kept) : sealed;
    if (raw.length > PUBLISH_BYTES) {
      throw fault('store-unsupported', {
        path: this.#store.path,
        feature: 'more header extensions than fit in a sector',
      });
    }
    return Buffer.concat([raw, Buffer.alloc(PUBLISH_BYTES - raw.length)]);
  }
}
