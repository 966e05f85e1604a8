// The header's fixed fields (specification, "Header" and "Additional fields"). Pure codec: bytes in,
// a checked value out, and back. Extensions are in extensions.ts.

import { fault } from '../disk/index.js';
import { MAX_CLUSTER_BITS, MIN_CLUSTER_BITS } from './geometry.js';

export const MAGIC = 0x5146_49fb;
/** The length of the header we write: 104 bytes of version 3, compression_type and padding. */
export const HEADER_BYTES = 112;
const V2_HEADER_BYTES = 72;
const V3_HEADER_BYTES = 104;
/** The header we write and all its extensions fit in one sector, so that publishing is one write. */
export const PUBLISH_BYTES = 512;

/** QEMU's own limits (block/qcow2.h), which also bound what a hostile file can make us allocate. */
export const MAX_L1_BYTES = 32 * 2 ** 20;
export const MAX_REFCOUNT_TABLE_BYTES = 8 * 2 ** 20;
export const MAX_SNAPSHOTS = 65536;
export const MAX_SNAPSHOT_TABLE_BYTES = 64 * 2 ** 20;
/** Largest virtual disk we open: all offsets stay exact in a double. */
const MAX_DISK_BYTES = 2 ** 53 - 1;

/** Incompatible feature bits (header bytes 72 to 79). */
export const INCOMPATIBLE = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  externalData: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
  /** Ours: the payloads of compressed clusters are in a private encoding (docs/format.md). */
  privateCodec: 1n << 58n,
} as const;

export interface Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  /** Virtual disk size in bytes. */
  readonly diskSize: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  readonly incompatible: bigint;
  readonly compatible: bigint;
  readonly autoclear: bigint;
  /** Refcounts are 2^order bits wide. */
  readonly refcountOrder: number;
  /** Length of these fields; extensions begin after it. */
  readonly headerLength: number;
  /** 0 raw deflate, 1 zstd. */
  readonly compressionType: number;
}

const word64 = (raw: Buffer, at: number, what: string, path: string): number => {
  const value = raw.readBigUInt64BE(at);
  if (value > BigInt(MAX_DISK_BYTES)) {
    throw fault('store-damaged', { path, problem: `the header's ${what} is impossibly large` });
  }
  return Number(value);
};

const refuse = (path: string, feature: string): never => {
  throw fault('store-unsupported', { path, feature });
};

const checkFields = (path: string, header: Header): Header => {
  const wrong = (problem: string): never => {
    throw fault('store-damaged', { path, problem });
  };
  if (header.clusterBits < MIN_CLUSTER_BITS || header.clusterBits > MAX_CLUSTER_BITS) {
    wrong(`its cluster size of 2^${header.clusterBits} bytes is outside 512 B to 2 MiB`);
  }
  const size = 2 ** header.clusterBits;
  if (header.l1Entries * 8 > MAX_L1_BYTES) wrong('its L1 table is larger than 32 MiB');
  if (header.refcountTableClusters * size > MAX_REFCOUNT_TABLE_BYTES) {
    wrong('its refcount table is larger than 8 MiB');
  }
  if (header.snapshotCount > MAX_SNAPSHOTS) wrong('it counts more than 65536 snapshots');
  if (header.refcountOrder > 6) wrong('its refcounts are wider than 64 bits');
  for (const [name, offset] of [
    ['L1 table', header.l1Offset],
    ['refcount table', header.refcountTableOffset],
    ['snapshot table', header.snapshotsOffset],
  ] as const) {
    if (offset % size !== 0) wrong(`its ${name} does not begin on a cluster boundary`);
  }
  const min = header.version === 2 ? V2_HEADER_BYTES : V3_HEADER_BYTES;
  if (header.headerLength < min || header.headerLength > size || header.headerLength % 8 !== 0) {
    wrong(`its header length of ${header.headerLength} is not possible`);
  }
  return header;
};

/** Decodes and checks a header. `raw` holds the file's first bytes, at least 72 (v2) or 112. */
export const decodeHeader = (path: string, raw: Buffer): Header => {
  if (raw.length < V2_HEADER_BYTES || raw.readUInt32BE(0) !== MAGIC) {
    throw fault('store-not-qcow2', { path });
  }
  const version = raw.readUInt32BE(4);
  if (version !== 2 && version !== 3) return refuse(path, `qcow2 version ${version}`);
  if (version === 3 && raw.length < HEADER_BYTES) {
    throw fault('store-damaged', { path, problem: 'it ends inside its header' });
  }
  if (raw.readBigUInt64BE(8) !== 0n) return refuse(path, 'a backing file');
  if (raw.readUInt32BE(32) !== 0) return refuse(path, 'encryption');
  const headerLength = version === 2 ? V2_HEADER_BYTES : raw.readUInt32BE(100);
  return checkFields(path, {
    version,
    clusterBits: raw.readUInt32BE(20),
    diskSize: word64(raw, 24, 'disk size', path),
    l1Entries: raw.readUInt32BE(36),
    l1Offset: word64(raw, 40, 'L1 table offset', path),
    refcountTableOffset: word64(raw, 48, 'refcount table offset', path),
    refcountTableClusters: raw.readUInt32BE(56),
    snapshotCount: raw.readUInt32BE(60),
    snapshotsOffset: word64(raw, 64, 'snapshot table offset', path),
    incompatible: version === 2 ? 0n : raw.readBigUInt64BE(72),
    compatible: version === 2 ? 0n : raw.readBigUInt64BE(80),
    autoclear: version === 2 ? 0n : raw.readBigUInt64BE(88),
    refcountOrder: version === 2 ? 4 : raw.readUInt32BE(96),
    headerLength,
    compressionType: headerLength > 104 ? raw.readUInt8(104) : 0,
  });
};

/** Encodes the fixed fields as version 3, 112 bytes. */
export const encodeHeader = (header: Header): Buffer => {
  const raw = Buffer.alloc(HEADER_BYTES);
  raw.writeUInt32BE(MAGIC, 0);
  raw.writeUInt32BE(3, 4);
  raw.writeUInt32BE(header.clusterBits, 20);
  raw.writeBigUInt64BE(BigInt(header.diskSize), 24);
  raw.writeUInt32BE(header.l1Entries, 36);
  raw.writeBigUInt64BE(BigInt(header.l1Offset), 40);
  raw.writeBigUInt64BE(BigInt(header.refcountTableOffset), 48);
  raw.writeUInt32BE(header.refcountTableClusters, 56);
  raw.writeUInt32BE(header.snapshotCount, 60);
  raw.writeBigUInt64BE(BigInt(header.snapshotsOffset), 64);
  raw.writeBigUInt64BE(header.incompatible, 72);
  raw.writeBigUInt64BE(header.compatible, 80);
  raw.writeBigUInt64BE(header.autoclear, 88);
  raw.writeUInt32BE(header.refcountOrder, 96);
  raw.writeUInt32BE(HEADER_BYTES, 100);
  raw.writeUInt8(header.compressionType, 104);
  return raw;
};
