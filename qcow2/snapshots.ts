// The snapshot table (specification, "Snapshots"). Pure codec. A table may have thousands of entries
// and every command reads it, so numbers are read through one view, and a table is written into one buffer.

import { isUtf8 } from 'node:buffer';
import { fault } from '../disk/index.js';
import { MAX_SNAPSHOT_TABLE_BYTES } from './header.js';

const FIXED_BYTES = 40;
/** vm_state_size, disk size and icount: what version 3 defines. */
const STANDARD_EXTRA_BYTES = 24;
/** QEMU's limit (QCOW_MAX_SNAPSHOT_EXTRA_DATA). */
export const MAX_EXTRA_BYTES = 1024;
/** What is left for our record. */
export const MAX_PRIVATE_BYTES = MAX_EXTRA_BYTES - STANDARD_EXTRA_BYTES;
export const MAX_TAG_BYTES = 255;
const NO_ICOUNT = 0xffff_ffff_ffff_ffffn;

/** The bytes of a snapshot's names. */
export interface RawNames {
  readonly id: Buffer;
  readonly tag: Buffer;
}

export interface SnapshotEntry {
  readonly l1Offset: number;
  readonly l1Entries: number;
  /** Decimal text, unique in the store. */
  readonly id: string;
  readonly tag: string;
  /**
   * The id and the tag as they were read, where another program has written what is not UTF-8: they are written back as
   * they are, and `id` and `tag` are what can be said of them.
   */
  readonly rawNames?: RawNames | undefined;
  /** Seconds since the epoch, below 2^32. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** Nanoseconds the guest had run. */
  readonly vmClock: bigint;
  readonly vmStateBytes: number;
  /** Virtual disk size when it was taken; undefined in a version 2 file. */
  readonly diskSize: number | undefined;
  readonly icount: bigint;
  /** Extra data after byte 24, kept by QEMU: our record. */
  readonly extra: Buffer;
}

const padded = (length: number): number => Math.ceil(length / 8) * 8;

const viewOf = (raw: Buffer): DataView => new DataView(raw.buffer, raw.byteOffset, raw.byteLength);

/** High halves past this belong to numbers past 2^53. */
const MOST_HIGH = 0x1f_ffff;

/**
 * Bytes that the table which begins at `raw[0]` takes; undefined when `raw` ends before it does. With this, everything
 * that must hold of its entries has been looked at.
 */
export const measureSnapshots = (path: string, raw: Buffer, count: number): number | undefined => {
  const refuse = (problem: string): never => {
    throw fault('store-damaged', { path, problem });
  };
  const view = viewOf(raw);
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    const extraAt = at + FIXED_BYTES;
    if (extraAt > raw.length) return undefined;
    const extraBytes = view.getUint32(at + 36);
    if (extraBytes > MAX_EXTRA_BYTES) {
      refuse('a snapshot record has over 1024 bytes of extra data');
    }
    const bytes = FIXED_BYTES + extraBytes + view.getUint16(at + 12) + view.getUint16(at + 14);
    if (at + bytes > raw.length) return undefined;
    if (
      view.getUint32(at) > MOST_HIGH ||
      (extraBytes >= 8 && view.getUint32(extraAt) > MOST_HIGH) ||
      (extraBytes >= 16 && view.getUint32(extraAt + 8) > MOST_HIGH)
    ) {
      refuse('a snapshot record holds an impossible size');
    }
    at += padded(bytes);
  }
  return at;
};

/** Decodes the `count` entries of a table that has been measured; `raw` may be longer than the table. */
export const decodeSnapshots = (raw: Buffer, count: number): SnapshotEntry[] => {
  const view = viewOf(raw);
  const entries: SnapshotEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    const idAt = at + FIXED_BYTES + view.getUint32(at + 36);
    const tagAt = idAt + view.getUint16(at + 12);
    const end = tagAt + view.getUint16(at + 14);
    const id = raw.toString('utf8', idAt, tagAt);
    const tag = raw.toString('utf8', tagAt, end);
    const recordAt = at + FIXED_BYTES + STANDARD_EXTRA_BYTES;
    const entry = decodeOne(view, at, id, tag, raw.subarray(Math.min(recordAt, idAt), idAt));
    const isOdd = id.includes(REPLACED) || tag.includes(REPLACED);
    entries.push(isOdd ? withRawNames(entry, raw.subarray(idAt, end), tagAt - idAt) : entry);
    at += padded(end - at);
  }
  return entries;
};

/** What stands for bytes that are not UTF-8; or, seldom, for itself. */
const REPLACED = '\uFFFD';

/** Adds an entry's names as they are, an id of `idBytes` bytes and the tag, unless they are UTF-8. */
const withRawNames = (entry: SnapshotEntry, names: Buffer, idBytes: number): SnapshotEntry => {
  const rawNames = { id: names.subarray(0, idBytes), tag: names.subarray(idBytes) };
  return isUtf8(rawNames.id) && isUtf8(rawNames.tag) ? entry : { ...entry, rawNames };
};

const decodeOne = (
  view: DataView,
  at: number,
  id: string,
  tag: string,
  extra: Buffer,
): SnapshotEntry => {
  const extraAt = at + FIXED_BYTES;
  const has = view.getUint32(at + 36);
  return {
    l1Offset: Number(view.getBigUint64(at)),
    l1Entries: view.getUint32(at + 8),
    id,
    tag,
    seconds: view.getUint32(at + 16),
    nanoseconds: view.getUint32(at + 20),
    vmClock: view.getBigUint64(at + 24),
    vmStateBytes: has >= 8 ? Number(view.getBigUint64(extraAt)) : view.getUint32(at + 32),
    diskSize: has >= 16 ? Number(view.getBigUint64(extraAt + 8)) : undefined,
    icount: has >= 24 ? view.getBigUint64(extraAt + 16) : NO_ICOUNT,
    extra,
  };
};

/** Bytes of one entry, with its padding. */
const entryBytes = ({ id, tag, rawNames, extra }: SnapshotEntry): number =>
  padded(
    FIXED_BYTES +
      STANDARD_EXTRA_BYTES +
      extra.length +
      Buffer.byteLength(rawNames?.id ?? id) +
      Buffer.byteLength(rawNames?.tag ?? tag),
  );

/** Writes a name to `raw[at]`; returns where it ends. */
const put = (name: string | Buffer, raw: Buffer, at: number): number =>
  at + (typeof name === 'string' ? raw.write(name, at) : name.copy(raw, at));

/** Writes one entry to `raw[at]`, where zeros are; returns where the next one begins. */
const encodeOne = (entry: SnapshotEntry, raw: Buffer, view: DataView, at: number): number => {
  const extraAt = at + FIXED_BYTES;
  const recordAt = extraAt + STANDARD_EXTRA_BYTES;
  const idAt = recordAt + entry.extra.length;
  const tagAt = put(entry.rawNames?.id ?? entry.id, raw, idAt);
  const end = put(entry.rawNames?.tag ?? entry.tag, raw, tagAt);
  raw.set(entry.extra, recordAt);
  view.setBigUint64(at, BigInt(entry.l1Offset));
  view.setUint32(at + 8, entry.l1Entries);
  raw.writeUInt16BE(tagAt - idAt, at + 12);
  raw.writeUInt16BE(end - tagAt, at + 14);
  view.setUint32(at + 16, entry.seconds);
  view.setUint32(at + 20, entry.nanoseconds);
  view.setBigUint64(at + 24, entry.vmClock);
  view.setUint32(at + 32, Math.min(entry.vmStateBytes, 0xffff_ffff));
  view.setUint32(at + 36, idAt - extraAt);
  view.setBigUint64(extraAt, BigInt(entry.vmStateBytes));
  view.setBigUint64(extraAt + 8, BigInt(entry.diskSize ?? 0));
  view.setBigUint64(extraAt + 16, entry.icount);
  return at + padded(end - at);
};

/** Encodes the whole table; refuses one that QEMU would not read. */
export const encodeSnapshots = (path: string, entries: readonly SnapshotEntry[]): Buffer => {
  const length = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
  if (length > MAX_SNAPSHOT_TABLE_BYTES) {
    throw fault('store-full', { path, limit: 'its snapshot table would be larger than 64 MiB' });
  }
  const raw = Buffer.alloc(length);
  const view = viewOf(raw);
  let at = 0;
  for (const entry of entries) at = encodeOne(entry, raw, view, at);
  return raw;
};

export const NEW_SNAPSHOT_ICOUNT = NO_ICOUNT;
