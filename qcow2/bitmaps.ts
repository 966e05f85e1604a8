// The clusters of persistent dirty bitmaps (specification, "Bitmaps extension" and "Bitmaps"). QEMU
// stores them beside the disk; nvsnap only needs to know which clusters they take.

import type { Census } from './census.js';
import type { Extension } from './extensions.js';
import { type Findings, hex } from './findings.js';
import type { Store } from './store.js';
import { Table } from './table.js';
import { offsetOf } from './words.js';

const EXTENSION = 0x2385_2875;
const EXTENSION_BYTES = 24;
/** Autoclear bit 0: the extension is to be believed. */
const CONSISTENT = 1n;
const ENTRY_BYTES = 24;
/** QEMU's limits (block/qcow2-bitmap.c). */
/** True when there are any. */
export const hasBitmaps = (extensions: readonly Extension[]): boolean =>
  extensions.some(({ type }) => type === EXTENSION);

const MAX_BITMAPS = 65535;
const MAX_NAME_BYTES = 1023;
const MAX_DIRECTORY_BYTES = MAX_BITMAPS * (ENTRY_BYTES + MAX_NAME_BYTES);

interface Directory {
  readonly count: number;
  readonly bytes: number;
  readonly offset: number;
}

const directoryOf = (store: Store, findings: Findings): Directory | undefined => {
  const data = store.extensions.find(({ type }) => type === EXTENSION)?.data;
  if (!data || (store.header.autoclear & CONSISTENT) === 0n) return undefined;
  if (data.length < EXTENSION_BYTES) {
    findings.corruption('unreadable', 'the header extension of dirty bitmaps is cut short.');
    return undefined;
  }
  const directory = {
    count: data.readUInt32BE(0),
    bytes: Number(data.readBigUInt64BE(8)),
    offset: Number(data.readBigUInt64BE(16)),
  };
  if (directory.count <= MAX_BITMAPS && directory.bytes <= MAX_DIRECTORY_BYTES) return directory;
  findings.corruption('unreadable', 'the directory of dirty bitmaps is impossibly large.');
  return undefined;
};

const readAt = (store: Store, offset: number, length: number): Buffer => {
  const raw = Buffer.alloc(length);
  store.file.read(raw, offset);
  return raw;
};

/** Claims the clusters that one bitmap's table leads to. */
const countTable = (
  { store, census, findings }: { store: Store; census: Census; findings: Findings },
  table: { offset: number; entries: number },
): void => {
  const words = Table.decode(readAt(store, table.offset, table.entries * 8));
  for (let i = 0; i < words.length; i += 1) {
    const hi = words.hi(i);
    const lo = words.lo(i);
    const offset = offsetOf(hi, lo);
    const name = `entry ${i} of the bitmap table at ${hex(table.offset)}`;
    if (hi >>> 24 !== 0 || (lo & (offset === 0 ? 0x1fe : 0x1ff)) !== 0) {
      const message = `${name} has reserved bits set.`;
      findings.corruption('reserved-bits', message, table.offset + i * 8);
    }
    if (offset === 0) continue;
    census.claim('bitmap', offset, store.geometry.clusterSize, `the cluster of ${name}`);
  }
};

/**
 * Claims all that dirty bitmaps take: their directory, their tables and what those lead to. Stops at
 * the first part that cannot be what it should be, since nothing after it can be found.
 */
export function* countBitmaps(store: Store, census: Census, findings: Findings): Generator<void> {
  const directory = directoryOf(store, findings);
  if (!directory || directory.count === 0) return;
  const { offset, bytes, count } = directory;
  if (!census.claim('bitmap', offset, bytes, 'the directory of dirty bitmaps')) return;
  const raw = readAt(store, offset, bytes);
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    if (at + ENTRY_BYTES > raw.length) {
      findings.corruption('unreadable', 'the directory of dirty bitmaps is cut short.', offset);
      return;
    }
    const table = { offset: Number(raw.readBigUInt64BE(at)), entries: raw.readUInt32BE(at + 8) };
    const nameBytes = raw.readUInt16BE(at + 18);
    const extraBytes = raw.readUInt32BE(at + 20);
    const what = `the table of dirty bitmap ${i}`;
    if (!census.claim('bitmap', table.offset, table.entries * 8, what)) return;
    countTable({ store, census, findings }, table);
    at += Math.ceil((ENTRY_BYTES + extraBytes + nameBytes) / 8) * 8;
    yield;
  }
}
