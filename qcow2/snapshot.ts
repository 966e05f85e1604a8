// One snapshot of a store, and how much of what it says can be believed. A store may have thousands, and most commands
// want a few: a record is held against its checksum, decoded and judged when somebody asks for it.

import { Fault, fault } from '../disk/index.js';
import type { StoreFacts } from './extensions.js';
import { recordMisfit, tableMisfit } from './fits.js';
import type { Geometry } from './geometry.js';
import type { Header } from './header.js';
import { decodeRecord, type SnapshotRecord } from './record.js';
import type { SnapshotEntry } from './snapshots.js';

/** One snapshot of a store. `record` is there when nvsnap made it. */
export interface Snapshot {
  readonly entry: SnapshotEntry;
  readonly record: SnapshotRecord | undefined;
  /**
   * Why the record cannot be believed; whoever wants this snapshot's content is told. Made when it is asked for:
   * a file may say that it holds 65536 snapshots.
   */
  readonly damage?: (() => Fault) | undefined;
}

/** What of a store it depends on whether a snapshot can be believed. */
interface Holder {
  readonly path: string;
  readonly header: Header;
  readonly geometry: Geometry;
  readonly facts: StoreFacts | undefined;
}

/** The sizes of a snapshot that have to fit together. */
type Sizes = Pick<SnapshotEntry, 'l1Entries' | 'diskSize'> &
  Pick<SnapshotRecord, 'imageSize' | 'digestL1'>;

/** Says of the snapshots of one store whether they can be what they say. */
export class Judge {
  readonly #holder: Holder;
  /** Sizes that fit: most snapshots of a store have the same. */
  #fitting: Sizes | undefined;

  constructor(holder: Holder) {
    this.#holder = holder;
  }

  get path(): string {
    return this.#holder.path;
  }

  /** What is wrong with a snapshot whose record is as it was written; undefined when nothing is. */
  problemOf(entry: SnapshotEntry, record: SnapshotRecord | undefined): string | undefined {
    const { header, geometry, facts } = this.#holder;
    if (!record && facts && entry.extra.length > 0)
      return about('record', entry, 'is not readable');
    if (record && !facts) return 'it holds records of nvsnap, but not its own';
    if (record && this.#fits(entry, record)) return undefined;
    const table = tableMisfit(header, geometry, entry);
    if (table) return about('L1 table', entry, table);
    if (!record) return undefined;
    const misfit = recordMisfit(header, geometry, entry, record);
    if (misfit) return about('record', entry, misfit);
    const { l1Entries, diskSize } = entry;
    const { imageSize, digestL1 } = record;
    this.#fitting = { l1Entries, diskSize, imageSize, digestL1 };
    return undefined;
  }

  /** True when the same sizes were found to fit. */
  #fits(entry: SnapshotEntry, record: SnapshotRecord): boolean {
    const known = this.#fitting;
    return (
      known !== undefined &&
      known.l1Entries === entry.l1Entries &&
      known.diskSize === entry.diskSize &&
      known.imageSize === record.imageSize &&
      known.digestL1 === record.digestL1
    );
  }
}

const about = (what: string, { tag }: SnapshotEntry, misfit: string): string =>
  `the ${what} of snapshot ${JSON.stringify(tag)} ${misfit}`;

/** A snapshot as it is in a file: its record is looked at once, when it is asked for. */
export class StoredSnapshot implements Snapshot {
  readonly entry: SnapshotEntry;
  readonly #judge: Judge;
  #looked = false;
  #record: SnapshotRecord | undefined;
  #damage: (() => Fault) | undefined;

  constructor(judge: Judge, entry: SnapshotEntry) {
    this.#judge = judge;
    this.entry = entry;
  }

  get record(): SnapshotRecord | undefined {
    if (!this.#looked) this.#look();
    return this.#record;
  }

  get damage(): (() => Fault) | undefined {
    if (!this.#looked) this.#look();
    return this.#damage;
  }

  /** One damaged record must not keep anyone from the other snapshots. */
  #look(): void {
    this.#looked = true;
    const { path } = this.#judge;
    try {
      this.#record = decodeRecord(path, this.entry);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#damage = () => error;
      return;
    }
    const problem = this.#judge.problemOf(this.entry, this.#record);
    if (problem === undefined) return;
    this.#damage = () => fault('store-damaged', { path, problem });
  }
}
