// The structural check of a whole store: every reference is followed from its root and counted, the
// counts are held against the stored refcounts, every bit that must be 0 or 1 is looked at, and the
// digests of every snapshot against each other and against the tables they stand for. Data clusters
// are not read. The file may be hostile: nothing here trusts an offset, a size or a count.

import { fault } from '../disk/index.js';
import { Census, type ClusterCounts } from './census.js';
import { isPrivate } from './extensions.js';
import { type Finding, type FindingCode, Findings, hex } from './findings.js';
import { INCOMPATIBLE, MAX_REFCOUNT_TABLE_BYTES } from './header.js';
import { checkSnapshots } from './integrity.js';
import { decodeBlock } from './refcounts.js';
import { References } from './references.js';
import type { Store } from './store.js';
import { Table } from './table.js';

/** What a check found. */
export interface CheckReport {
  /** Host clusters in the file, and those that something leads to, by what they are used for. */
  readonly clusters: number;
  readonly allocatedClusters: number;
  readonly allocated: ClusterCounts;
  readonly snapshots: number;
  readonly fileBytes: number;
  /** How many findings there are of each kind; not all of them need be in `findings`. */
  readonly corruptions: number;
  readonly leaks: number;
  readonly notes: number;
  readonly findings: readonly Finding[];
}

/** Bits 0 to 8 of a refcount table entry are reserved; all above are the offset. */
const REFCOUNT_TABLE_RESERVED_LO = 0x1ff;

/** The stored refcounts, block by block: a check needs each block twice, but never all at once. */
class StoredRefcounts {
  readonly #store: Store;
  readonly #census: Census;
  readonly #findings: Findings;
  readonly #blockEntries: number;
  /** Host byte offset of each block that can be read, 0 where there is none. */
  #blocks: readonly number[] = [];

  constructor(store: Store, census: Census, findings: Findings) {
    this.#store = store;
    this.#census = census;
    this.#findings = findings;
    this.#blockEntries = (store.geometry.clusterSize * 8) >>> store.header.refcountOrder;
  }

  /** Claims the table and its blocks, and notes which clusters have a refcount of 1. */
  *load(): Generator<void> {
    this.#blocks = this.#claimTable();
    for (let b = 0; b < this.#blocks.length; b += 1) {
      const counts = this.#block(b);
      const first = b * this.#blockEntries;
      const end = Math.min(counts?.length ?? 0, this.#census.clusters - first);
      for (let i = 0; i < end; i += 1) if (counts?.[i] === 1) this.#census.setSingle(first + i);
      yield;
    }
  }

  #claimTable(): readonly number[] {
    const { header, geometry, file } = this.#store;
    const offset = header.refcountTableOffset;
    const length = Math.min(
      header.refcountTableClusters * geometry.clusterSize,
      MAX_REFCOUNT_TABLE_BYTES,
    );
    if (length === 0) {
      this.#findings.corruption('table-missing', 'the file has no refcount table.');
      return [];
    }
    if (!this.#census.claim('refcountTable', offset, length, 'the refcount table')) return [];
    const raw = Buffer.alloc(length);
    file.read(raw, offset);
    const table = Table.decode(raw);
    const blocks: number[] = [];
    for (let i = 0; i < table.length; i += 1) {
      if (table.isClear(i)) continue;
      while (blocks.length < i) blocks.push(0);
      blocks.push(this.#claimBlock(i, table.hi(i), table.lo(i)));
    }
    return blocks;
  }

  #claimBlock(index: number, hi: number, lo: number): number {
    if ((lo & REFCOUNT_TABLE_RESERVED_LO) !== 0) {
      const place = this.#store.header.refcountTableOffset + index * 8;
      const message = `entry ${index} of the refcount table has reserved bits set.`;
      this.#findings.corruption('reserved-bits', message, place);
    }
    const offset = hi * 2 ** 32 + ((lo & ~REFCOUNT_TABLE_RESERVED_LO) >>> 0);
    if (offset === 0) return 0;
    const { clusterSize } = this.#store.geometry;
    const what = `refcount block ${index}`;
    return this.#census.claim('refcountBlock', offset, clusterSize, what) ? offset : 0;
  }

  /** The refcounts in one block; undefined where there is none: then all are 0. */
  #block(index: number): Uint32Array | undefined {
    const offset = this.#blocks[index] ?? 0;
    if (offset === 0) return undefined;
    const raw = Buffer.alloc(this.#store.geometry.clusterSize);
    this.#store.file.read(raw, offset);
    return decodeBlock(raw, this.#store.header.refcountOrder);
  }

  /** Holds every stored refcount against the references found; returns the clusters in use. */
  *compare(): Generator<void, { used: number; end: number }> {
    let used = 0;
    let end = 0;
    const blocks = Math.max(
      this.#blocks.length,
      Math.ceil(this.#census.clusters / this.#blockEntries),
    );
    for (let b = 0; b < blocks; b += 1) {
      const counts = this.#block(b);
      for (let i = 0; i < this.#blockEntries; i += 1) {
        const cluster = b * this.#blockEntries + i;
        const inFile = cluster < this.#census.clusters;
        if (!inFile && !counts) break;
        const found = inFile ? this.#census.refs(cluster) : 0;
        const stored = counts?.[i] ?? 0;
        if (found !== 0) {
          used += 1;
          end = cluster + 1;
        }
        if (found !== stored) this.#differs(cluster, stored, found);
      }
      yield;
    }
    return { used, end };
  }

  #differs(cluster: number, stored: number, found: number): void {
    const offset = cluster * this.#store.geometry.clusterSize;
    const message = `the refcount of the cluster at ${hex(offset)} is ${stored}, but ${found} references lead there.`;
    if (stored < found) this.#findings.corruption('refcount-low', message, offset);
    else this.#findings.add('leak', 'refcount-high', message, offset);
  }
}

/** What the header says of the file's state, and of the encoding that its facts name. */
const checkMarks = (store: Store, findings: Findings): void => {
  const { incompatible } = store.header;
  const marked = (incompatible & INCOMPATIBLE.privateCodec) !== 0n;
  if (store.facts && marked !== isPrivate(store.facts)) {
    const says = marked ? 'private' : 'standard';
    const { codec, chain } = store.facts;
    const is = [codec, ...chain.map(({ name }) => name)].join(' and ');
    const text = `the header says that the encoding of payloads is ${says}, but it is ${is}.`;
    findings.corruption('feature', text, 72);
  }
  if ((incompatible & INCOMPATIBLE.corrupt) !== 0n) {
    findings.add('note', 'marked-corrupt', 'the file is marked corrupt by its last writer.');
  }
  if ((incompatible & INCOMPATIBLE.dirty) !== 0n) {
    findings.add('note', 'marked-dirty', 'the file was not closed cleanly by its last writer.');
  }
};

/** Counts all references, and holds the stored refcounts against them. */
function* countSteps(
  store: Store,
  findings: Findings,
): Generator<void, { census: Census; used: number; end: number }> {
  const census = new Census(store, findings);
  const stored = new StoredRefcounts(store, census, findings);
  census.claim('header', 0, store.geometry.clusterSize, 'the header');
  yield* stored.load();
  yield* new References(store, census, findings).count();
  return { census, ...(yield* stored.compare()) };
}

/**
 * Checks a store in small steps: a caller that lets other work run between them, or stops, keeps a
 * long check polite. `seed`: what its digests were made with, where that is known. Throws a Fault only when the file cannot be read or has too many clusters.
 */
export function* checkSteps(
  store: Store,
  seed: Uint8Array | undefined,
): Generator<void, CheckReport> {
  const findings = new Findings();
  const { clusterSize } = store.geometry;
  checkMarks(store, findings);
  const { census, used, end } = yield* countSteps(store, findings);
  // nvsnap gives every cluster its full length; QEMU may let a file end inside its last one.
  if (store.facts && end * clusterSize > census.fileBytes) {
    const message = `the file ends at ${census.fileBytes}, inside its last cluster: nvsnap did not leave it so.`;
    findings.add('note', 'cut-short', message, census.fileBytes);
  }
  yield* checkSnapshots(store, seed, findings);
  return {
    clusters: census.clusters,
    allocatedClusters: used,
    allocated: census.counts(),
    snapshots: store.snapshots.length,
    fileBytes: census.fileBytes,
    corruptions: findings.total('corruption'),
    leaks: findings.total('leak'),
    notes: findings.total('note'),
    findings: findings.kept,
  };
}

/** With these a cluster that is in use could be given out, or given back. */
const DANGEROUS: readonly FindingCode[] = [
  'refcount-low',
  'table-missing',
  'overlap',
  'outside-file',
];

/**
 * Holds the refcounts against all that leads anywhere, which takes reading the tables of all snapshots. Throws a Fault
 * when a cluster has more references than its refcount says.
 */
export const proveRefcounts = (store: Store): void => {
  const findings = new Findings();
  for (const _ of countSteps(store, findings));
  const worst = DANGEROUS.map((code) => findings.first(code)).find((text) => text !== undefined);
  if (worst === undefined) return;
  throw fault('store-damaged', { path: store.path, problem: worst.replace(/\.$/, '') });
};

/** Checks a store in one go; see `checkSteps`. */
export const checkStore = (store: Store): CheckReport => {
  const steps = checkSteps(store, store.facts?.seed);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
};
