// Our record in a snapshot's extra data (docs/format.md, "The record"). It says what qcow2 has no
// words for: lineage, the exact image size, where the digests are, and a checksum over all of it and
// over the snapshot's own fields, so that a flipped bit in either is noticed.

import { fault } from '../disk/index.js';
import { checksum } from './checksum.js';
import { MAX_PRIVATE_BYTES, type SnapshotEntry } from './snapshots.js';
import { formatUuid, parseUuid } from './uuid.js';

const MAGIC = 0x4e56_5331; // "NVS1"
const VERSION = 1;
const FIXED_BYTES = 96;
const CHECKSUM_BYTES = 8;
/** The image's name is cut to this, so that a record always fits. */
const MAX_TEXT_BYTES = 512;
const MAX_SHORT_TEXT_BYTES = 100;
const TWO_32 = 2 ** 32;

export interface SnapshotRecord {
  readonly uuid: string;
  /** The nil uuid when it depends on no other snapshot. */
  readonly parent: string;
  /** Exact size of the image in bytes; the disk size is this rounded up to 512. */
  readonly imageSize: number;
  /** The L1 entry at which the digests begin. */
  readonly digestL1: number;
  /** Digest of the digest table's index, 16 bytes. */
  readonly root: Uint8Array;
  /** Clusters stored by this take, and the bytes of their payloads. */
  readonly storedClusters: number;
  readonly storedBytes: number;
  readonly tool: string;
  /** The dirty source that said what may have changed, and its epoch. */
  readonly dirty: string;
  readonly epoch: string;
  /** Path of the image when it was taken, cut to 512 bytes; "-" for standard input. */
  readonly image: string;
}

/** Cuts text to `limit` bytes of UTF-8 without splitting a character. */
const cutText = (text: string, limit: number): Buffer => {
  let cut = text;
  while (Buffer.byteLength(cut) > limit) cut = cut.slice(0, -1);
  return Buffer.from(cut);
};

/** What QEMU keeps of a snapshot when it rewrites the table, and may not change unnoticed. */
const identity = (entry: SnapshotEntry): string =>
  JSON.stringify([
    entry.id,
    entry.tag,
    entry.seconds,
    entry.nanoseconds,
    entry.vmStateBytes,
    entry.diskSize,
    entry.l1Entries,
  ]);

/** What is sealed lies here meanwhile: a store may have thousands of records, and each open looks at all. */
const SEALED = Buffer.alloc(4096);
/** Bytes of UTF-8 for one character of a string at most. */
const MAX_CHARACTER_BYTES = 3;

/** The checksum over a snapshot's own fields and the record's body. */
const seal = (entry: SnapshotEntry, body: Buffer): Buffer => {
  const own = identity(entry);
  if (body.length + own.length * MAX_CHARACTER_BYTES > SEALED.length) {
    return checksum(Buffer.concat([body, Buffer.from(own)]));
  }
  SEALED.set(body);
  return checksum(SEALED.subarray(0, body.length + SEALED.write(own, body.length)));
};

/** Encodes the record of `entry` (whose own `extra` is not looked at). */
export const encodeRecord = (record: SnapshotRecord, entry: SnapshotEntry): Buffer => {
  const texts = [
    cutText(record.tool, MAX_SHORT_TEXT_BYTES),
    cutText(record.dirty, MAX_SHORT_TEXT_BYTES),
    cutText(record.epoch, MAX_SHORT_TEXT_BYTES),
    cutText(record.image, MAX_TEXT_BYTES),
  ];
  const fixed = Buffer.alloc(FIXED_BYTES);
  fixed.writeUInt32BE(MAGIC, 0);
  fixed.writeUInt16BE(VERSION, 4);
  fixed.set(parseUuid(record.uuid), 8);
  fixed.set(parseUuid(record.parent), 24);
  fixed.writeBigUInt64BE(BigInt(record.imageSize), 40);
  fixed.writeUInt32BE(record.digestL1, 48);
  fixed.set(record.root, 56);
  fixed.writeBigUInt64BE(BigInt(record.storedClusters), 72);
  fixed.writeBigUInt64BE(BigInt(record.storedBytes), 80);
  texts.forEach((text, i) => {
    fixed.writeUInt16BE(text.length, 88 + 2 * i);
  });
  const body = Buffer.concat([fixed, ...texts]);
  return Buffer.concat([body, seal(entry, body)]);
};

export const MAX_RECORD_BYTES =
  FIXED_BYTES + 3 * MAX_SHORT_TEXT_BYTES + MAX_TEXT_BYTES + CHECKSUM_BYTES;
if (MAX_RECORD_BYTES > MAX_PRIVATE_BYTES) throw new Error('a record may not fit its snapshot');

/** A 64-bit count; none that nvsnap wrote is past 2^53. */
const count64 = (path: string, raw: Buffer, at: number): number => {
  const value = raw.readUInt32BE(at) * TWO_32 + raw.readUInt32BE(at + 4);
  if (value > Number.MAX_SAFE_INTEGER) {
    throw fault('store-damaged', { path, problem: "a snapshot's record holds an impossible size" });
  }
  return value;
};

/** Decodes a snapshot's record; undefined when another program made the snapshot. */
export const decodeRecord = (path: string, entry: SnapshotEntry): SnapshotRecord | undefined => {
  const raw = entry.extra;
  if (raw.length < FIXED_BYTES + CHECKSUM_BYTES || raw.readUInt32BE(0) !== MAGIC) return undefined;
  const body = raw.subarray(0, -CHECKSUM_BYTES);
  if (seal(entry, body).compare(raw, body.length) !== 0) {
    throw fault('store-damaged', {
      path,
      problem: `the record of snapshot ${JSON.stringify(entry.tag)} does not match its checksum`,
    });
  }
  if (raw.readUInt16BE(4) !== VERSION) {
    throw fault('store-unsupported', { path, feature: `record version ${raw.readUInt16BE(4)}` });
  }
  const texts: string[] = [];
  let at = FIXED_BYTES;
  for (let i = 0; i < 4; i += 1) {
    const length = raw.readUInt16BE(88 + 2 * i);
    if (at + length > body.length) {
      throw fault('store-damaged', { path, problem: "a snapshot's record is cut short" });
    }
    texts.push(body.toString('utf8', at, at + length));
    at += length;
  }
  const [tool = '', dirty = '', epoch = '', image = ''] = texts;
  return {
    uuid: formatUuid(raw, 8),
    parent: formatUuid(raw, 24),
    imageSize: count64(path, raw, 40),
    digestL1: raw.readUInt32BE(48),
    root: raw.subarray(56, 72),
    storedClusters: count64(path, raw, 72),
    storedBytes: count64(path, raw, 80),
    tool,
    dirty,
    epoch,
    image,
  };
};
