// The snapshot table (specification, "Snapshots"). Pure codec.

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
const TWO_32 = 2 ** 32;
const NO_ICOUNT = 0xffff_ffff_ffff_ffffn;

export interface SnapshotEntry {
  readonly l1Offset: number;
  readonly l1Entries: number;
  /** Decimal text, unique in the store. */
  readonly id: string;
  readonly tag: string;
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

const number64 = (raw: Buffer, at: number, path: string): number => {
  const value = raw.readUInt32BE(at) * TWO_32 + raw.readUInt32BE(at + 4);
  if (value > Number.MAX_SAFE_INTEGER) {
    throw fault('store-damaged', { path, problem: 'a snapshot record holds an impossible size' });
  }
  return value;
};

const decodeOne = (path: string, raw: Buffer, at: number): [SnapshotEntry, number] => {
  const cut = (): never => {
    throw fault('store-damaged', { path, problem: 'its snapshot table is cut short' });
  };
  if (at + FIXED_BYTES > raw.length) cut();
  const idBytes = raw.readUInt16BE(at + 12);
  const tagBytes = raw.readUInt16BE(at + 14);
  const extraBytes = raw.readUInt32BE(at + 36);
  if (extraBytes > MAX_EXTRA_BYTES) {
    throw fault('store-damaged', {
      path,
      problem: 'a snapshot record has over 1024 bytes of extra data',
    });
  }
  const extraAt = at + FIXED_BYTES;
  const idAt = extraAt + extraBytes;
  const end = idAt + idBytes + tagBytes;
  if (end > raw.length) cut();
  const has = (bytes: number): boolean => extraBytes >= bytes;
  const entry: SnapshotEntry = {
    l1Offset: number64(raw, at, path),
    l1Entries: raw.readUInt32BE(at + 8),
    id: raw.toString('utf8', idAt, idAt + idBytes),
    tag: raw.toString('utf8', idAt + idBytes, end),
    seconds: raw.readUInt32BE(at + 16),
    nanoseconds: raw.readUInt32BE(at + 20),
    vmClock: raw.readBigUInt64BE(at + 24),
    vmStateBytes: has(8) ? number64(raw, extraAt, path) : raw.readUInt32BE(at + 32),
    diskSize: has(16) ? number64(raw, extraAt + 8, path) : undefined,
    icount: has(24) ? raw.readBigUInt64BE(extraAt + 16) : NO_ICOUNT,
    extra: raw.subarray(Math.min(extraAt + STANDARD_EXTRA_BYTES, idAt), idAt),
  };
  return [entry, at + padded(end - at)];
};

/** A decoded table and the bytes it takes. */
export interface SnapshotTable {
  readonly entries: readonly SnapshotEntry[];
  readonly bytes: number;
}

/** Decodes the table that begins at `raw[0]`; `raw` may be longer than the table. */
export const decodeSnapshots = (path: string, raw: Buffer, count: number): SnapshotTable => {
  const entries: SnapshotEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    const [entry, next] = decodeOne(path, raw, at);
    entries.push(entry);
    at = next;
  }
  return { entries, bytes: at };
};

const encodeOne = (entry: SnapshotEntry): Buffer => {
  const id = Buffer.from(entry.id, 'utf8');
  const tag = Buffer.from(entry.tag, 'utf8');
  const extraBytes = STANDARD_EXTRA_BYTES + entry.extra.length;
  const raw = Buffer.alloc(padded(FIXED_BYTES + extraBytes + id.length + tag.length));
  raw.writeBigUInt64BE(BigInt(entry.l1Offset), 0);
  raw.writeUInt32BE(entry.l1Entries, 8);
  raw.writeUInt16BE(id.length, 12);
  raw.writeUInt16BE(tag.length, 14);
  raw.writeUInt32BE(entry.seconds, 16);
  raw.writeUInt32BE(entry.nanoseconds, 20);
  raw.writeBigUInt64BE(entry.vmClock, 24);
  raw.writeUInt32BE(Math.min(entry.vmStateBytes, 0xffff_ffff), 32);
  raw.writeUInt32BE(extraBytes, 36);
  raw.writeBigUInt64BE(BigInt(entry.vmStateBytes), 40);
  raw.writeBigUInt64BE(BigInt(entry.diskSize ?? 0), 48);
  raw.writeBigUInt64BE(entry.icount, 56);
  raw.set(entry.extra, FIXED_BYTES + STANDARD_EXTRA_BYTES);
  raw.set(id, FIXED_BYTES + extraBytes);
  raw.set(tag, FIXED_BYTES + extraBytes + id.length);
  return raw;
};

/** Encodes the whole table; refuses one that QEMU would not read. */
export const encodeSnapshots = (path: string, entries: readonly SnapshotEntry[]): Buffer => {
  const raw = Buffer.concat(entries.map(encodeOne));
  if (raw.length > MAX_SNAPSHOT_TABLE_BYTES) {
    throw fault('store-full', { path, limit: 'its snapshot table would be larger than 64 MiB' });
  }
  return raw;
};

export const NEW_SNAPSHOT_ICOUNT = NO_ICOUNT;
