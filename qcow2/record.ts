// Our record in a snapshot's extra data (docs/format.md, "The record"). It says what qcow2 has no
// words for: lineage, the exact image size, where the digests are, and a checksum over all of it and
// over the snapshot's own fields, so that a flipped bit in either is noticed.

import { type Fault, fault } from '../disk/index.js';
import { CHECKSUM_BYTES, checksum, isChecksum } from './checksum.js';
import { MAX_PRIVATE_BYTES, type SnapshotEntry } from './snapshots.js';
import { formatUuid, parseUuid } from './uuid.js';

const MAGIC = 0x4e56_5331; // "NVS1"
const VERSION = 1;
/** The lengths of the texts, 2 bytes each, are the last of the fixed fields. */
const LENGTHS_AT = 88;
const FIXED_BYTES = 96;
const UUIDS_AT = 8;
/** Where the lengths are in what is hexadecimal from the uuids on. */
const LENGTHS_DIGIT = 2 * (LENGTHS_AT - UUIDS_AT);
/** The image's name is cut to this, so that a record always fits. */
const MAX_TEXT_BYTES = 512;
const MAX_SHORT_TEXT_BYTES = 100;
/** Of the tables, after the texts; not in records that early versions wrote. */
const TABLES_BYTES = 16;

export interface SnapshotRecord {
  readonly uuid: string;
  /** The nil uuid when it depends on no other snapshot. */
  readonly parent: string;
  /** Exact size of the image in bytes; the disk size is this rounded up to 512. */
  readonly imageSize: number;
  /** The L1 entry at which the digests begin. */
  readonly digestL1: number;
  /** Digest of the digest table's index, in hexadecimal. */
  readonly root: string;
  /** Clusters stored by this take, and the bytes of their payloads. */
  readonly storedClusters: number;
  readonly storedBytes: number;
  readonly tool: string;
  /** The dirty source that said what may have changed, and its epoch. */
  readonly dirty: string;
  readonly epoch: string;
  /** Path of the image when it was taken, cut to 512 bytes; "-" for standard input. */
  readonly image: string;
  /**
   * Digest of the snapshot's tables (`Roots.digestOf`), in hexadecimal; undefined where an early version made the record,
   * and until the snapshot is published.
   */
  readonly tables?: string | undefined;
}

/** Cuts text to `limit` bytes of UTF-8 without splitting a character. */
const cutText = (text: string, limit: number): Buffer => {
  const raw = Buffer.from(text);
  if (raw.length <= limit) return raw;
  let end = limit;
  // What continues a character begins with the bits 10.
  while (((raw[end] as number) & 0xc0) === 0x80) end -= 1;
  return raw.subarray(0, end);
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

/**
 * What is sealed lies here meanwhile, the record's body before the seam and the snapshot's own fields after it: a store
 * may have thousands of records, and a list looks at all.
 */
const SEALED = Buffer.alloc(4096);
const SEAM = MAX_PRIVATE_BYTES;
const OWN = SEALED.subarray(SEAM);
const ENCODER = new TextEncoder();

/** What the checksum of a record is over: its body, the first `length` bytes of `raw`, and the snapshot's own fields. */
const sealedBytes = (entry: SnapshotEntry, raw: Buffer, length: number): Uint8Array => {
  const own = identity(entry);
  SEALED.set(raw, SEAM - length);
  const { read, written } = ENCODER.encodeInto(own, OWN);
  // Other programs may give a snapshot a name of 64 KiB.
  if (read < own.length) return Buffer.concat([raw.subarray(0, length), Buffer.from(own)]);
  return new Uint8Array(SEALED.buffer, SEALED.byteOffset + SEAM - length, length + written);
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
  fixed.write(record.root, 56, 'hex');
  fixed.writeBigUInt64BE(BigInt(record.storedClusters), 72);
  fixed.writeBigUInt64BE(BigInt(record.storedBytes), 80);
  texts.forEach((text, i) => {
    fixed.writeUInt16BE(text.length, LENGTHS_AT + 2 * i);
  });
  const body = Buffer.concat([fixed, ...texts, Buffer.from(record.tables ?? '', 'hex')]);
  return Buffer.concat([body, checksum(sealedBytes(entry, body, body.length))]);
};

export const MAX_RECORD_BYTES =
  FIXED_BYTES + 3 * MAX_SHORT_TEXT_BYTES + MAX_TEXT_BYTES + TABLES_BYTES + CHECKSUM_BYTES;
if (MAX_RECORD_BYTES > MAX_PRIVATE_BYTES) throw new Error('a record may not fit its snapshot');

/** The words of a record; undefined where there is none. */
const wordsOf = (raw: Buffer): DataView | undefined => {
  if (raw.length < FIXED_BYTES + CHECKSUM_BYTES) return undefined;
  const words = new DataView(raw.buffer, raw.byteOffset, raw.length);
  return words.getUint32(0) === MAGIC ? words : undefined;
};

/**
 * The L1 entry at which a snapshot's digests begin, as its record says before anybody has held it against its checksum;
 * undefined when there is no record.
 */
export const claimedDigestL1 = ({ extra }: SnapshotEntry): number | undefined =>
  wordsOf(extra)?.getUint32(48);

/**
 * A fault that is kept as what is known of a snapshot: where it was made interests nobody, and to find that out for
 * 65536 damaged ones takes most of a second.
 */
const untraced = <C extends 'store-damaged' | 'store-unsupported'>(
  ...words: Parameters<typeof fault<C>>
): Fault => {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const made = fault(...words);
  Error.stackTraceLimit = stackTraceLimit;
  return made;
};

/** Decodes a snapshot's record; undefined when another program made the snapshot. */
export const decodeRecord = (path: string, entry: SnapshotEntry): SnapshotRecord | undefined => {
  const raw = entry.extra;
  const words = wordsOf(raw);
  if (!words) return undefined;
  const end = raw.length - CHECKSUM_BYTES;
  if (!isChecksum(sealedBytes(entry, raw, end), words, end)) {
    const name = JSON.stringify(entry.tag);
    const problem = `the record of snapshot ${name} does not match its checksum`;
    throw untraced('store-damaged', { path, problem });
  }
  if (words.getUint16(4) !== VERSION) {
    const feature = `record version ${words.getUint16(4)}`;
    throw untraced('store-unsupported', { path, feature });
  }
  const hex = raw.toString('hex', UUIDS_AT, end);
  const textsEnd = endOfTexts(words);
  if (textsEnd > end) {
    throw untraced('store-damaged', { path, problem: "a snapshot's record is cut short" });
  }
  const key = hex.slice(LENGTHS_DIGIT, 2 * (textsEnd - UUIDS_AT));
  const after = hex.slice(2 * (textsEnd - UUIDS_AT), 2 * (textsEnd + TABLES_BYTES - UUIDS_AT));
  const tables = after.length === 2 * TABLES_BYTES ? after : undefined;
  const record = fieldsOf(hex, words, textsOf(raw, key), tables);
  const { imageSize, storedClusters, storedBytes } = record;
  // None that nvsnap wrote is past 2^53.
  if (Math.max(imageSize, storedClusters, storedBytes) > Number.MAX_SAFE_INTEGER) {
    const problem = "a snapshot's record holds an impossible size";
    throw untraced('store-damaged', { path, problem });
  }
  return record;
};

/** The texts of a record, in the order in which they lie there. */
type Texts = Pick<SnapshotRecord, 'tool' | 'dirty' | 'epoch' | 'image'>;

/** The lengths and the texts of the record that was looked at last, in hexadecimal: the next often has the same. */
let last: { readonly key: string; readonly texts: Texts } | undefined;

const endOfTexts = (words: DataView): number =>
  FIXED_BYTES +
  words.getUint16(LENGTHS_AT) +
  words.getUint16(LENGTHS_AT + 2) +
  words.getUint16(LENGTHS_AT + 4) +
  words.getUint16(LENGTHS_AT + 6);

/** The texts, of which `key` is all there is in hexadecimal. */
const textsOf = (raw: Buffer, key: string): Texts => {
  if (last?.key === key) return last.texts;
  let at = FIXED_BYTES;
  const next = (i: number): string => {
    const from = at;
    at += raw.readUInt16BE(LENGTHS_AT + 2 * i);
    return raw.toString('utf8', from, at);
  };
  const texts = { tool: next(0), dirty: next(1), epoch: next(2), image: next(3) };
  last = { key, texts };
  return texts;
};

/** All fields; `hex` has those from the uuid on. */
const fieldsOf = (
  hex: string,
  words: DataView,
  texts: Texts,
  tables: string | undefined,
): SnapshotRecord => {
  // Before its own uuid: it is the one that was written last, where the snapshot before is the parent.
  const parent = formatUuid(hex.slice(32, 64));
  return {
    uuid: formatUuid(hex.slice(0, 32)),
    parent,
    imageSize: Number(words.getBigUint64(40)),
    digestL1: words.getUint32(48),
    root: hex.slice(96, 128),
    storedClusters: Number(words.getBigUint64(72)),
    storedBytes: Number(words.getBigUint64(80)),
    tool: texts.tool,
    dirty: texts.dirty,
    epoch: texts.epoch,
    image: texts.image,
    ...(tables === undefined ? {} : { tables }),
  };
};
