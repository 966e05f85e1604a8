// Where a small store has its fields: for a mutator that knows where it hurts.

import fs from 'node:fs';
import { decodePacked, kindOf, offsetOf, type Store } from '../../qcow2/index.js';
import { withTables } from './tables.js';

/** A number in a file: `bytes` wide, big endian. */
export interface Field {
  readonly at: number;
  readonly bytes: 1 | 2 | 4 | 8;
}

export interface Chart {
  readonly clusterSize: number;
  readonly header: readonly Field[];
  /** Types and lengths of header extensions, and words of what they hold. */
  readonly extensions: readonly Field[];
  readonly l1: readonly Field[];
  readonly l2: readonly Field[];
  readonly refcountTable: readonly Field[];
  readonly refcounts: readonly Field[];
  /** Where each snapshot's entry begins. */
  readonly entries: readonly number[];
  readonly snapshots: readonly Field[];
  /** Fields of our own records. */
  readonly records: readonly Field[];
  readonly payloads: readonly { readonly at: number; readonly length: number }[];
  /** Host offsets of all tables, and of some data. */
  readonly places: readonly number[];
}

const fields = (bytes: Field['bytes'], at: number, count: number): Field[] =>
  Array.from({ length: count }, (_, i) => ({ at: at + i * bytes, bytes }));

const HEADER: readonly Field[] = [
  ...[0, 4, 16, 20, 32, 36, 56, 60, 96, 100].map((at): Field => ({ at, bytes: 4 })),
  ...[8, 24, 40, 48, 64, 72, 80, 88].map((at): Field => ({ at, bytes: 8 })),
  { at: 104, bytes: 1 },
];
/** Words at the beginning of each table, beside those in use. */
const LEADING_WORDS = 4;

const extensionFields = ({ header, extensions }: Store): Field[] => {
  let at = header.headerLength;
  const found = fields(4, at, 2);
  for (const { data } of extensions) {
    found.push(...fields(4, at, 2), ...fields(4, at + 8, Math.min(12, data.length / 4)));
    at += 8 + Math.ceil(data.length / 8) * 8;
  }
  return found.map(({ at: place, bytes }) => ({ at: Math.floor(place), bytes }));
};

const snapshotFields = (store: Store): Pick<Chart, 'entries' | 'snapshots' | 'records'> => {
  const entries: number[] = [];
  const snapshots: Field[] = [];
  const records: Field[] = [];
  let at = store.header.snapshotsOffset;
  for (const { entry, record } of store.snapshots) {
    entries.push(at);
    snapshots.push(...fields(8, at, 1), ...fields(4, at + 8, 1), ...fields(2, at + 12, 2));
    snapshots.push(...fields(4, at + 16, 2), ...fields(4, at + 32, 2), ...fields(8, at + 40, 3));
    const extra = (entry.diskSize === undefined ? 0 : 24) + entry.extra.length;
    const end = at + 40 + extra + entry.id.length + entry.tag.length;
    snapshots.push(...fields(1, at + 40 + extra, entry.id.length + entry.tag.length));
    if (record) {
      const start = at + 64;
      records.push(...fields(2, start + 4, 2), ...fields(8, start + 40, 1));
      records.push(...fields(4, start + 48, 2), ...fields(8, start + 56, 4));
      records.push(...fields(2, start + 88, 4), ...fields(1, start + 96, 40));
    }
    at += Math.ceil((end - at) / 8) * 8;
  }
  return { entries, snapshots, records };
};

/** The L1 tables, L2 tables and payloads of a store. */
const tableFields = (store: Store): Pick<Chart, 'l1' | 'l2' | 'payloads' | 'places'> => {
  const { header, snapshots, geometry } = store;
  const l1: Field[] = [];
  const l2: Field[] = [];
  const payloads = new Map<number, number>();
  const places = new Set<number>([header.l1Offset, header.refcountTableOffset]);
  const roots = [
    { l1Offset: header.l1Offset, table: store.activeL1() },
    ...snapshots.map(({ entry }) => ({ l1Offset: entry.l1Offset, table: store.l1(entry) })),
  ];
  const seen = new Set<number>();
  for (const { l1Offset, table } of roots) {
    places.add(l1Offset);
    l1.push(...fields(8, l1Offset, table.length));
    for (let i = 0; i < table.length; i += 1) {
      const offset = offsetOf(table.hi(i), table.lo(i));
      if (offset === 0 || seen.has(offset)) continue;
      seen.add(offset);
      places.add(offset);
      const entries = store.l2(offset);
      for (let j = 0; j < entries.length; j += 1) {
        const [hi, lo] = [entries.hi(j), entries.lo(j)];
        if ((hi | lo) === 0 && j >= LEADING_WORDS) continue;
        l2.push({ at: offset + j * 8, bytes: 8 });
        if (kindOf(hi, lo) !== 'packed') continue;
        const packed = decodePacked(hi, lo, geometry.clusterBits);
        payloads.set(packed.offset, packed.length);
      }
    }
  }
  return {
    l1,
    l2,
    payloads: [...payloads].map(([at, length]) => ({ at, length })),
    places: [...places],
  };
};

const refcountFields = (store: Store, raw: Buffer): Pick<Chart, 'refcountTable' | 'refcounts'> => {
  const { refcountTableOffset, refcountTableClusters, refcountOrder } = store.header;
  const { clusterSize } = store.geometry;
  const words = fields(8, refcountTableOffset, (refcountTableClusters * clusterSize) / 8);
  const used = words.filter(({ at }, i) => i < LEADING_WORDS || raw.readBigUInt64BE(at) !== 0n);
  const first = Number(raw.readBigUInt64BE(refcountTableOffset));
  const bytes = Math.max(1, 2 ** refcountOrder / 8) as Field['bytes'];
  const count = Math.min(clusterSize / bytes, 64);
  return { refcountTable: used, refcounts: fields(bytes, first, count) };
};

/** Finds its way through a sound store. */
export const chartOf = (path: string): Chart =>
  withTables(path, (store) => {
    const raw = fs.readFileSync(path);
    return {
      clusterSize: store.geometry.clusterSize,
      header: HEADER.filter(({ at }) => at < store.header.headerLength),
      extensions: extensionFields(store),
      ...tableFields(store),
      ...refcountFields(store, raw),
      ...snapshotFields(store),
    };
  });
