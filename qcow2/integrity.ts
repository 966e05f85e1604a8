// Whether the snapshots of a store make sense together: names, sizes, records, and digests. Digests
// are held against each other (root, index, table) and against the L2 entries they stand for: a
// cluster reads as zeros exactly when its digest is zero. What a snapshot shares with the one before
// it is looked at once, so the work follows the changes, not the number of snapshots.

import {
  DIGEST_BYTES,
  type Digester,
  Fault,
  type HostOffset,
  hostOffset,
  isZeroDigest,
  openDigester,
  sameDigest,
} from '../disk/index.js';
import { DigestReader } from './digests.js';
import { type Findings, hex } from './findings.js';
import { recordMisfit } from './fits.js';
import type { SnapshotRecord } from './record.js';
import { Roots } from './roots.js';
import type { Snapshot } from './snapshot.js';
import type { Store } from './store.js';
import type { Table } from './table.js';
import { COMPRESSED_HI, kindOf, offsetOf, ZERO_LO } from './words.js';

type RecordedSnapshot = Snapshot & { readonly record: SnapshotRecord };

const nameOf = ({ entry }: Snapshot): string =>
  `snapshot ${JSON.stringify(entry.tag)} (#${entry.id})`;

/** Runs `read`; a Fault (a table that cannot be read) gives undefined. */
const tryRead = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
};

/** Ids and uuids must be unique; tags should be, though QEMU does not insist. */
const checkNames = (store: Store, findings: Findings): void => {
  const ids = new Set<string>();
  const tags = new Set<string>();
  const uuids = new Set<string>();
  for (const snapshot of store.snapshots) {
    const { entry, record } = snapshot;
    if (ids.has(entry.id)) {
      findings.corruption('duplicate', `the id of ${nameOf(snapshot)} is not unique.`);
    }
    if (tags.has(entry.tag)) {
      findings.add('note', 'duplicate', `the tag of ${nameOf(snapshot)} is not unique.`);
    }
    if (record && uuids.has(record.uuid)) {
      findings.corruption('duplicate', `the uuid of ${nameOf(snapshot)} is not unique.`);
    }
    ids.add(entry.id);
    tags.add(entry.tag);
    if (record) uuids.add(record.uuid);
  }
};

/** nvsnap makes the disk as large as its largest snapshot; another program may have resized it. */
const checkDisk = (store: Store, findings: Findings): void => {
  const { header, geometry } = store;
  const needed = geometry.l1Entries(header.diskSize);
  if (header.l1Entries < needed) {
    findings.corruption('disk-size', 'the active L1 table is too short for the disk.');
  }
  if (!store.facts) return;
  const sizes = store.snapshots.map(({ entry }) => entry.diskSize ?? 0);
  const largest = sizes.reduce((most, size) => Math.max(most, size), 0);
  if (header.diskSize !== largest || header.l1Entries > Math.max(1, needed)) {
    findings.add('note', 'disk-size', 'the disk does not have the size of its largest snapshot.');
  }
};

/** Whether every L1 table of a snapshot is long enough for its disk. */
const checkSizes = (store: Store, findings: Findings): void => {
  const { header, geometry } = store;
  for (const snapshot of store.snapshots) {
    const { diskSize, l1Entries } = snapshot.entry;
    const name = nameOf(snapshot);
    if (diskSize === undefined) {
      if (header.version === 3) {
        findings.corruption('disk-size', `${name} does not say how large its disk is.`);
      }
    } else if (l1Entries < geometry.l1Entries(diskSize)) {
      findings.corruption('disk-size', `the L1 table of ${name} is too short for its disk.`);
    }
  }
};

/** Whether a record agrees with the snapshot it is part of; its digests can be found only then. */
const checkRecord = (store: Store, snapshot: RecordedSnapshot, findings: Findings): boolean => {
  const { entry, record } = snapshot;
  const misfit = recordMisfit(store.header, store.geometry, entry, record);
  if (misfit) findings.corruption('record', `the record of ${nameOf(snapshot)} ${misfit}.`);
  return misfit === undefined;
};

/** nvsnap leaves the newest snapshot as the active state; another program may have changed that. */
const checkActive = (store: Store, findings: Findings): void => {
  if (!store.facts) return;
  const newest = store.snapshots.at(-1);
  const active = tryRead(() => store.activeL1());
  const shown = newest && tryRead(() => store.l1(newest.entry));
  if (!active || (newest && !shown)) return;
  const own = store.geometry.l1Entries(newest?.entry.diskSize ?? 0);
  for (let i = 0; i < active.length; i += 1) {
    const wanted = shown && i < own && i < shown.length ? offsetOf(shown.hi(i), shown.lo(i)) : 0;
    if (offsetOf(active.hi(i), active.lo(i)) === wanted) continue;
    const what = newest ? nameOf(newest) : 'an empty disk';
    const place = store.header.l1Offset + i * 8;
    findings.add('note', 'active-state', `the active L1 table does not show ${what}.`, place);
    return;
  }
};

/** What was read of a snapshot, for the next one to be compared with. */
interface Seen {
  readonly reader: DigestReader;
  readonly l1: Table;
  /** Whole guest clusters in the image. */
  readonly clusters: number;
  /** Host byte offset of each cluster of the digest table, 0 for none, -1 where unreadable. */
  readonly places: Float64Array;
}

class DigestCheck {
  readonly #store: Store;
  readonly #digester: Digester;
  readonly #findings: Findings;
  #before: Seen | undefined;
  #l2: { readonly offset: number; readonly table: Table | undefined } | undefined;

  constructor(store: Store, digester: Digester, findings: Findings) {
    this.#store = store;
    this.#digester = digester;
    this.#findings = findings;
  }

  /** Checks the digests of one snapshot, whose record is sound; yields now and then. */
  *check(snapshot: RecordedSnapshot): Generator<void> {
    const seen = this.#open(snapshot);
    if (!seen) return;
    for (let d = 0; d < seen.places.length; d += 1) {
      if (this.#checkPart(snapshot, seen, d)) yield;
    }
    this.#before = seen;
  }

  /** Reads the index, which the root vouches for. */
  #open(snapshot: RecordedSnapshot): Seen | undefined {
    const { geometry } = this.#store;
    try {
      const reader = new DigestReader(this.#store, snapshot, this.#digester);
      const l1 = this.#store.l1(snapshot.entry);
      const clusters = geometry.clusters(snapshot.record.imageSize);
      const places = this.#places(l1, snapshot.record.digestL1, reader.layout.table);
      return { reader, l1, clusters, places };
    } catch (error) {
      this.#report(snapshot, error);
      return undefined;
    }
  }

  #report(snapshot: Snapshot, error: unknown, offset?: number): void {
    if (!(error instanceof Fault)) throw error;
    const problem = String(error.details.problem ?? error.message);
    const text = `the digests of ${nameOf(snapshot)} cannot be believed: ${problem}.`;
    this.#findings.corruption('digest', text, offset);
  }

  /** The L2 table at a host offset, read once in a row; undefined when it cannot be read. */
  #table(offset: HostOffset): Table | undefined {
    if (this.#l2?.offset !== offset) {
      this.#l2 = { offset, table: tryRead(() => this.#store.l2(offset)) };
    }
    return this.#l2.table;
  }

  #places(l1: Table, digestL1: number, count: number): Float64Array {
    const { l2Entries } = this.#store.geometry;
    const places = new Float64Array(count);
    for (let d = 0; d < count; d += 1) {
      const index = digestL1 + Math.floor(d / l2Entries);
      const offset = offsetOf(l1.hi(index), l1.lo(index));
      if (offset === 0) continue;
      const table = this.#table(offset);
      const hi = table?.hi(d % l2Entries) ?? 0;
      const lo = table?.lo(d % l2Entries) ?? 0;
      const kind = kindOf(hi, lo);
      if (!table || kind === 'packed') places[d] = -1;
      else if (kind === 'plain') places[d] = offsetOf(hi, lo);
    }
    return places;
  }

  /** Whether cluster `d` of the digest table is the same as in the snapshot before. */
  #isShared(seen: Seen, d: number): boolean {
    const before = this.#before;
    if (!before || d >= before.places.length || seen.places[d] === -1) return false;
    const at = d * DIGEST_BYTES;
    return (
      before.places[d] === seen.places[d] &&
      sameDigest(before.reader.index, at, seen.reader.index, at)
    );
  }

  /** Checks one cluster of the digest table, and the L2 entries it stands for. True if it read any. */
  #checkPart(snapshot: RecordedSnapshot, seen: Seen, d: number): boolean {
    const { perCluster } = seen.reader.layout;
    const { l2Entries } = this.#store.geometry;
    const first = d * perCluster;
    const end = Math.min(first + perCluster, seen.clusters);
    // Half an L2 table's worth of clusters: never parts of two.
    const index = Math.floor(first / l2Entries);
    const shared = this.#isShared(seen, d);
    if (shared && this.#sharesTable(seen, index, end)) return false;
    const empty = isZeroDigest(seen.reader.index, d * DIGEST_BYTES);
    const place = seen.places[d] as number;
    if (empty && place > 0 && !shared) {
      const text = `the digests of ${nameOf(snapshot)} have a cluster that their index does not know.`;
      this.#findings.corruption('digest', text, place);
    }
    const l2Offset =
      index < seen.l1.length ? offsetOf(seen.l1.hi(index), seen.l1.lo(index)) : hostOffset(0);
    if (empty && l2Offset === 0) return false;
    try {
      const digests = seen.reader.tableCluster(d);
      this.#compareZeros(snapshot, { digests, first, end, l2Offset });
    } catch (error) {
      if (!shared) this.#report(snapshot, error, place > 0 ? place : undefined);
    }
    return true;
  }

  #sharesTable(seen: Seen, index: number, end: number): boolean {
    const before = this.#before;
    return (
      before !== undefined &&
      end <= before.clusters &&
      before.l1.hi(index) === seen.l1.hi(index) &&
      before.l1.lo(index) === seen.l1.lo(index)
    );
  }

  #compareZeros(
    snapshot: Snapshot,
    part: { digests: Buffer; first: number; end: number; l2Offset: HostOffset },
  ): void {
    const { l2Entries, clusterSize } = this.#store.geometry;
    const { digests, first, end, l2Offset } = part;
    const table = l2Offset === 0 ? undefined : this.#table(l2Offset);
    // A table that cannot be read is damage that following the references has found.
    if (l2Offset !== 0 && !table) return;
    let wrong = 0;
    let firstWrong = 0;
    for (let c = first; c < end; c += 1) {
      const hi = table?.hi(c % l2Entries) ?? 0;
      const lo = table?.lo(c % l2Entries) ?? 0;
      const zero = (hi & COMPRESSED_HI) === 0 && ((lo & ZERO_LO) !== 0 || offsetOf(hi, lo) === 0);
      if (zero === isZeroDigest(digests, (c - first) * DIGEST_BYTES)) continue;
      if (wrong === 0) firstWrong = c;
      wrong += 1;
    }
    if (wrong === 0) return;
    const from = hex(firstWrong * clusterSize);
    const text = `${wrong} clusters of ${nameOf(snapshot)}, the first at image offset ${from}, read as zeros where their digests say data, or the other way round.`;
    this.#findings.corruption('digest-zero', text, l2Offset === 0 ? undefined : l2Offset);
  }
}

/**
 * A snapshot without a record, in a store of ours: another program made it, and left no private data
 * in it, or the record is damaged beyond recognition.
 */
const reportForeign = (snapshot: Snapshot, findings: Findings): void => {
  if (snapshot.damage) {
    findings.corruption(
      'record',
      `${nameOf(snapshot)} cannot be read: ${snapshot.damage().message}`,
    );
    return;
  }
  const text = `${nameOf(snapshot)} was made by another program and has no digests.`;
  findings.add('note', 'digest-absent', text);
};

/**
 * Checks all that is said of snapshots outside the tables; yields now and then. `seed`: what the digests were made with,
 * if it is known.
 */
export function* checkSnapshots(
  store: Store,
  seed: Uint8Array | undefined,
  findings: Findings,
): Generator<void> {
  checkNames(store, findings);
  checkDisk(store, findings);
  checkSizes(store, findings);
  checkActive(store, findings);
  const { facts } = store;
  const digester = facts && seed && openDigester({ algorithm: facts.digest, seed });
  const digests = digester && new DigestCheck(store, digester, findings);
  if (facts && !seed) {
    const text = 'the digests were not looked at: the stage that has their key was not given.';
    findings.add('note', 'digest-locked', text);
  }
  const roots = new Roots(store);
  for (const snapshot of store.snapshots) {
    const { entry, record } = snapshot;
    if (!record) {
      if (facts) reportForeign(snapshot, findings);
      continue;
    }
    const recorded = { entry, record };
    if (!checkRecord(store, recorded, findings)) continue;
    if (roots.stateOf(snapshot) === 'changed') {
      const text = `the tables of ${nameOf(snapshot)} are not those that it was taken with.`;
      findings.corruption('tables', text, entry.l1Offset);
    }
    if (digests) yield* digests.check(recorded);
    else if (!facts) {
      const text = `${nameOf(snapshot)} has a record, but the file does not say how to read its digests.`;
      findings.corruption('digest-absent', text);
    }
    yield;
  }
}
