// Reading a store: the header, its extensions, the snapshot table and the tables below it. Every
// offset and count is bounded by the file before anything is read or allocated.

import fs from 'node:fs';
import {
  errnoOf,
  Fault,
  type File,
  fault,
  type HostOffset,
  openFile,
  reasonOf,
} from '../disk/index.js';
import {
  decodeExtensions,
  decodeFacts,
  type Extension,
  encodeFacts,
  nameOfFeature,
  type StoreFacts,
} from './extensions.js';
import { Geometry, MIN_EXTENDED_CLUSTER_BITS } from './geometry.js';
import {
  decodeHeader,
  type Header,
  INCOMPATIBLE,
  MAX_L1_BYTES,
  MAX_SNAPSHOT_TABLE_BYTES,
} from './header.js';
import { type L2Kind, L2Table } from './l2.js';
import { Judge, type Snapshot, StoredSnapshot } from './snapshot.js';
import { decodeSnapshots, measureSnapshots, type SnapshotEntry } from './snapshots.js';
import { Table } from './table.js';

/** L1 tables kept in memory; an L1 table may have 32 MiB. */
const KEPT_L1_TABLES = 4;

/** So much more than the file has room for may some damaged entries claim, before all of it is damaged. */
const SPARE_L1_BYTES = 32 * MAX_L1_BYTES;

/** What is read of a snapshot table at first: so much for each entry, most of which have some 300 bytes. */
const LIKELY_ENTRY_BYTES = 512;
const MIN_TABLE_READ = 64 * 1024;

/** How often a reader tries again when a writer publishes while it reads the tables. */
const OPEN_TRIES = 10;

export class Store {
  readonly file: File;
  readonly header: Header;
  readonly geometry: Geometry;
  readonly extensions: readonly Extension[];
  /** What is true of the whole store; undefined when nvsnap did not make the file. */
  readonly facts: StoreFacts | undefined;
  /** Bytes of the snapshot table. */
  readonly snapshotTableBytes: number;
  readonly #snapshotTable: Buffer;
  #snapshots: readonly Snapshot[] | undefined;
  readonly #l1s = new Map<string, Table>();
  /** Length of the file when it was opened: nothing that its tables lead to was added later. */
  readonly #fileBytes: number;

  private constructor(file: File, adoption: StoreFacts | undefined) {
    this.file = file;
    const first = this.#readUpTo(0, 112);
    this.header = decodeHeader(file.path, first);
    const extended = (this.header.incompatible & INCOMPATIBLE.extendedL2) !== 0n;
    this.geometry = new Geometry(this.header.clusterBits, extended);
    this.#fileBytes = file.size();
    const cluster = this.#readUpTo(0, this.geometry.clusterSize);
    const extensions = decodeExtensions(file.path, cluster, this.header.headerLength);
    const facts = decodeFacts(file.path, extensions);
    const isAdopted = facts === undefined && adoption !== undefined;
    this.extensions = isAdopted ? [encodeFacts(adoption), ...extensions] : extensions;
    this.facts = facts ?? adoption;
    this.#refuseUnknownFeatures();
    const table = this.#readSnapshotTable();
    this.#snapshotTable = table.raw;
    this.snapshotTableBytes = table.bytes;
  }

  /** Opens a store for reading ("r") or writing ("r+"); the caller closes `store.file`. */
  static open(
    path: string,
    flags: 'r' | 'r+',
    log?: string,
    inspect?: (store: Store) => void,
  ): Store {
    let file: File;
    try {
      const stat = fs.statSync(path);
      // Opening a pipe would wait for somebody who writes to it; a device cannot grow.
      if (!stat.isFile() && !(flags === 'r' && stat.isBlockDevice())) {
        throw fault('store-unusable', { path, reason: 'it is not a regular file' });
      }
      file = openFile(path, flags, log);
    } catch (error) {
      if (error instanceof Fault) throw error;
      if (errnoOf(error) === 'ENOENT') throw fault('store-missing', { path }, error);
      throw fault('store-unusable', { path, reason: reasonOf(error) }, error);
    }
    try {
      return Store.attach(file, inspect);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * Reads the tables of an open file. A writer may publish meanwhile: then the header has changed
   * since, what was read may be a mixture, and it is read again. `inspect` runs inside that window:
   * what it reads (an L1 table) is of the same generation as the rest. With `adoption`, a file that nvsnap did not
   * make has these facts from now on, and on disk from the next commit on.
   */
  static attach(file: File, inspect?: (store: Store) => void, adoption?: StoreFacts): Store {
    for (let tries = 1; ; tries += 1) {
      const before = headerBytes(file);
      try {
        const store = new Store(file, adoption);
        inspect?.(store);
        if (before.equals(headerBytes(file)) || tries === OPEN_TRIES) return store;
      } catch (error) {
        if (before.equals(headerBytes(file)) || tries === OPEN_TRIES) throw error;
      }
    }
  }

  get path(): string {
    return this.file.path;
  }

  /** Oldest first; decoded when they are asked for. */
  get snapshots(): readonly Snapshot[] {
    if (!this.#snapshots) {
      const judge = new Judge(this);
      const entries = decodeSnapshots(this.#snapshotTable, this.header.snapshotCount);
      this.#checkL1Bytes(entries);
      this.#snapshots = entries.map((entry) => new StoredSnapshot(judge, entry));
    }
    return this.#snapshots;
  }

  /** No two snapshots share an L1 table: those of a small file, read one after another, must have an end. */
  #checkL1Bytes(entries: readonly SnapshotEntry[]): void {
    const bytes = entries.reduce(
      (sum, entry) => sum + Math.min(entry.l1Entries * 8, MAX_L1_BYTES),
      0,
    );
    if (bytes > this.#fileBytes + SPARE_L1_BYTES) {
      this.#damaged('its snapshots have more L1 tables than it has room for');
    }
  }

  #damaged(problem: string): never {
    throw fault('store-damaged', { path: this.path, problem });
  }

  #refuseUnknownFeatures(): void {
    const { incompatible } = this.header;
    const path = this.path;
    const known =
      INCOMPATIBLE.dirty |
      INCOMPATIBLE.corrupt |
      INCOMPATIBLE.compressionType |
      INCOMPATIBLE.extendedL2 |
      INCOMPATIBLE.privateCodec;
    for (let bit = 0; bit < 64; bit += 1) {
      const mask = 1n << BigInt(bit);
      if ((incompatible & mask) === 0n || (known & mask) !== 0n) continue;
      const named =
        mask === INCOMPATIBLE.externalData
          ? 'an external data file'
          : `the incompatible feature ${JSON.stringify(nameOfFeature(this.extensions, bit) ?? `bit ${bit}`)}`;
      throw fault('store-unsupported', { path, feature: named });
    }
    if ((incompatible & INCOMPATIBLE.privateCodec) !== 0n && !this.facts) {
      throw fault('store-unsupported', {
        path,
        feature: 'a private encoding it does not describe',
      });
    }
    this.#refuseUnknownEntries();
    const typed = (incompatible & INCOMPATIBLE.compressionType) !== 0n;
    const { compressionType } = this.header;
    if (compressionType > 1 || typed !== (compressionType === 1)) {
      throw fault('store-unsupported', { path, feature: `compression type ${compressionType}` });
    }
  }

  /** Extended L2 entries are read in files of other programs; no store of ours has them. */
  #refuseUnknownEntries(): void {
    if (!this.geometry.extendedL2) return;
    const refuse = (feature: string): never => {
      throw fault('store-unsupported', { path: this.path, feature });
    };
    if (this.facts) refuse('extended L2 entries in a store of its own');
    if (this.geometry.clusterBits < MIN_EXTENDED_CLUSTER_BITS) {
      refuse('subclusters of less than 512 bytes');
    }
  }

  #readUpTo(offset: number, length: number): Buffer {
    const raw = Buffer.alloc(length);
    return raw.subarray(0, this.file.read(raw, offset));
  }

  /** Reads exactly `length` bytes; short only when the file ends inside its last cluster. */
  #readMeta(offset: number, length: number, what: string): Buffer {
    const raw = Buffer.alloc(length);
    this.readInto(raw, offset, what);
    return raw;
  }

  /** Fills `raw` from host byte `offset` on; of the file's last cluster a part may be missing, and reads as zeros. */
  readInto(raw: Buffer, offset: number, what: string): void {
    const { length } = raw;
    if (!Number.isSafeInteger(offset + length)) {
      this.#damaged(`${what} at ${offset} lies outside the file`);
    }
    const got = this.file.read(raw, offset);
    if (got < length && offset + got + this.geometry.clusterSize <= offset + length) {
      this.#damaged(`${what} at ${offset} lies outside the file`);
    }
    raw.fill(0, got);
  }

  /** The snapshot table, looked at as far as a table has rules; it may be followed by other bytes. */
  #readSnapshotTable(): { readonly raw: Buffer; readonly bytes: number } {
    const { snapshotCount, snapshotsOffset } = this.header;
    if (snapshotCount === 0) return { raw: Buffer.alloc(0), bytes: 0 };
    const available = Math.max(0, this.file.size() - snapshotsOffset);
    const most = Math.min(available, MAX_SNAPSHOT_TABLE_BYTES);
    // The table's length is not stored: what is read ahead suffices nearly always, or else grows.
    let length = Math.max(MIN_TABLE_READ, snapshotCount * LIKELY_ENTRY_BYTES);
    for (;;) {
      const raw = this.#readUpTo(snapshotsOffset, Math.min(length, most));
      const bytes = measureSnapshots(this.path, raw, snapshotCount);
      if (bytes !== undefined) return { raw, bytes };
      if (length >= most) this.#damaged('its snapshot table is cut short');
      length *= 4;
    }
  }

  /** The active L1 table. */
  activeL1(): Table {
    return this.#readL1(this.header.l1Offset, this.header.l1Entries);
  }

  /** A snapshot's L1 table; kept, so that it stays the one read when the store was opened. */
  l1(entry: SnapshotEntry): Table {
    const key = `${entry.l1Offset}:${entry.l1Entries}`;
    let table = this.#l1s.get(key);
    if (!table) {
      table = this.#readL1(entry.l1Offset, entry.l1Entries);
      const [oldest] = this.#l1s.keys();
      if (oldest !== undefined && this.#l1s.size >= KEPT_L1_TABLES) this.#l1s.delete(oldest);
      this.#l1s.set(key, table);
    }
    return table;
  }

  #readL1(offset: number, entries: number): Table {
    if (entries * 8 > MAX_L1_BYTES) this.#damaged('an L1 table is larger than 32 MiB');
    if (entries === 0) return Table.empty(0);
    if (!this.geometry.isAligned(offset)) {
      this.#damaged(`the L1 table at ${offset} does not begin on a cluster boundary`);
    }
    return Table.decode(this.#readMeta(offset, entries * 8, 'the L1 table'));
  }

  #checkL2(offset: HostOffset): void {
    if (this.geometry.isAligned(offset)) return;
    this.#damaged(`the L2 table at ${offset} does not begin on a cluster boundary`);
  }

  /** Fills `raw`, of one cluster, with the L2 table at a host byte offset, as it is on disk. */
  readL2(raw: Buffer, offset: HostOffset): void {
    this.#checkL2(offset);
    this.readInto(raw, offset, 'the L2 table');
  }

  /** Reads the L2 table at a host byte offset. */
  l2(offset: HostOffset): L2Table {
    this.#checkL2(offset);
    const raw = this.readCluster(offset, 'the L2 table');
    return this.geometry.extendedL2 ? L2Table.decodeExtended(raw) : L2Table.decode(raw);
  }

  /**
   * What is wrong with an entry that leads to data at host byte `offset`; undefined when the data can be
   * there.
   */
  flawOf(kind: L2Kind, offset: number): string | undefined {
    if (kind === 'broken') return 'the entry of a data cluster contradicts itself';
    if (kind !== 'packed' && !this.geometry.isAligned(offset)) {
      return `a data cluster at ${offset} is not on a cluster boundary`;
    }
    return offset < this.#fileBytes ? undefined : `a data cluster at ${offset} is outside the file`;
  }

  /** Reads one whole host cluster. */
  readCluster(offset: HostOffset, what: string): Buffer {
    return this.#readMeta(offset, this.geometry.clusterSize, what);
  }
}

const headerBytes = (file: File): Buffer => {
  const raw = Buffer.alloc(112);
  return raw.subarray(0, file.read(raw, 0));
};
