// A snapshot as a stream of bytes (docs/stream.md), for a pipe or a file:
//
//     magic │ H header │ B batch │ B batch │ … │ E end
//
// Each section is sealed by a digest over its head, its tables and the seal of the section before, so that none
// can be lost, doubled or moved; the bytes of clusters are sealed by their own digests. Nothing read from a
// stream is believed before it was held against its seal, and no size before it was held against its limit.

import { DIGEST_BYTES, fault, MiB, openDigester, parseDigestAlgorithm } from '../disk/index.js';
import { type Batch, Kind, type SlabLayout } from '../pipeline/index.js';
import { isNilUuid, MAX_CLUSTER_BITS, MIN_NEW_CLUSTER_BITS } from '../qcow2/index.js';

export const MAGIC = Buffer.from('nvsnap\x1a\n', 'latin1');

/** One byte of kind, three of zeros, then the length of the tables in bytes, little endian. */
export const HEAD_BYTES = 8;
export const SEAL_BYTES = DIGEST_BYTES;
const MAX_HEADER_BYTES = 64 * 1024;
const BATCH_FIXED_BYTES = 16;
/** A kind, a length and a digest. */
const PER_CLUSTER_BYTES = 1 + 4 + DIGEST_BYTES;
const END_BYTES = 16;

export type SectionKind = 'H' | 'B' | 'E';

/** What a stream says of its snapshot. */
export interface StreamHeader {
  readonly version: 1;
  readonly uuid: string;
  /** The uuid of the snapshot it builds on; null when it is complete. */
  readonly parent: string | null;
  /** That one's tag, for people. */
  readonly parentTag: string | null;
  readonly tag: string;
  readonly seconds: number;
  readonly nanoseconds: number;
  /** Bytes. */
  readonly imageSize: number;
  /** Bytes. */
  readonly clusterSize: number;
  readonly digest: 'xxh3-128' | 'blake3';
  /** The digests' seed, 8 bytes in hexadecimal. */
  readonly seed: string;
  readonly dirty: string;
  readonly epoch: string;
  readonly image: string;
  readonly tool: string;
}

export const streamFault = (problem: string, cause?: unknown) =>
  fault('stream-damaged', { problem }, cause);

const MAX_TEXT_BYTES = 4096;

const isText = (value: unknown): value is string =>
  typeof value === 'string' && Buffer.byteLength(value) <= MAX_TEXT_BYTES;

/** True for text that a record, or a screen, can have as it is: no control characters, no half of a character. */
const isPlain = (value: unknown): value is string =>
  isText(value) && !/[\p{Cc}\p{Cs}]/u.test(value);

/** As much of a text as a header has room for: other programs may give a snapshot a name of 64 KiB. */
export const shortText = (text: string): string =>
  Array.from(text)
    .slice(0, MAX_TEXT_BYTES / 4)
    .join('');

/** Text as a header may have it: what another program has named may hold anything. */
export const plainText = (text: string): string =>
  shortText(text).replace(/[\p{Cc}\p{Cs}]/gu, '\uFFFD');

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** True for the uuid of a snapshot. In a record, the one of zeros stands for no parent. */
const isUuid = (value: unknown): value is string =>
  isText(value) && UUID.test(value) && !isNilUuid(value);

/** Reads a header's body. */
export const decodeHeader = (body: Buffer): StreamHeader => {
  let value: Partial<Record<keyof StreamHeader, unknown>>;
  try {
    value = JSON.parse(body.toString('utf8')) as typeof value;
  } catch (error) {
    throw streamFault('its header is not readable', error);
  }
  if (value === null || typeof value !== 'object') throw streamFault('its header is not readable');
  if (value.version !== 1)
    throw streamFault(`its version is ${String(value.version).slice(0, 20)}, not 1`);
  const bits = Math.log2(Number(value.clusterSize));
  const sound =
    isUuid(value.uuid) &&
    (value.parent === null || isUuid(value.parent)) &&
    (value.parentTag === null || isPlain(value.parentTag)) &&
    // The tag may be given another: it is looked at where it is used.
    isText(value.tag) &&
    [value.dirty, value.epoch, value.image, value.tool].every(isPlain) &&
    isCount(value.seconds) &&
    value.seconds < 2 ** 32 &&
    isCount(value.nanoseconds) &&
    value.nanoseconds < 1e9 &&
    isCount(value.imageSize) &&
    value.imageSize < 2 ** 52 &&
    Number.isInteger(bits) &&
    bits >= MIN_NEW_CLUSTER_BITS &&
    bits <= MAX_CLUSTER_BITS &&
    isText(value.seed) &&
    /^[0-9a-f]{16}$/.test(value.seed) &&
    isText(value.digest);
  if (!sound) throw streamFault('its header says what cannot be');
  parseDigestAlgorithm(value.digest as string);
  return value as StreamHeader;
};

/** Image bytes of a batch, or one cluster if that is larger: what every reader has room for. */
const STREAM_BATCH_BYTES = 4 * MiB;

export const streamBatchBytes = (clusterSize: number): number =>
  Math.max(clusterSize, STREAM_BATCH_BYTES);

/** Pieces of memory in order; those that lie side by side become one. */
class Pieces {
  readonly list: Buffer[] = [];
  bytes = 0;

  add(piece: Buffer): void {
    this.bytes += piece.length;
    const last = this.list.at(-1);
    if (last?.buffer === piece.buffer && last.byteOffset + last.length === piece.byteOffset) {
      const joined = Buffer.from(last.buffer, last.byteOffset, last.length + piece.length);
      this.list[this.list.length - 1] = joined;
    } else this.list.push(piece);
  }
}

/** Bytes of the tables of a batch of so many clusters. */
const tableBytes = (count: number): number => BATCH_FIXED_BYTES + count * PER_CLUSTER_BYTES;

/** The largest tables that a reader with such slabs takes. */
export const maxTableBytes = (kind: SectionKind, layout?: SlabLayout): number => {
  if (kind === 'H') return MAX_HEADER_BYTES;
  return kind === 'E' ? END_BYTES : tableBytes(layout?.clusters ?? 0);
};

/** Bytes of what follows a batch's tables for cluster `i`: nothing for zeros. */
const payloadOf = (batch: Batch, i: number): Buffer | undefined => {
  if (batch.kinds[i] === Kind.plain) return batch.cluster(i);
  if (batch.kinds[i] !== Kind.packed) return undefined;
  const start = batch.starts[i] as number;
  return batch.packed.subarray(start, start + (batch.lengths[i] as number));
};

/** A batch as it goes into a stream: tables, and the pieces of payload in order. */
export const encodeBatch = (batch: Batch): { tables: Buffer; payload: readonly Buffer[] } => {
  const { count } = batch;
  const payload = new Pieces();
  const tables = Buffer.alloc(tableBytes(count));
  tables.writeBigUInt64LE(BigInt(batch.offset), 0);
  tables.writeUInt32LE(count, 8);
  for (let i = 0; i < count; i += 1) {
    const piece = payloadOf(batch, i);
    tables[BATCH_FIXED_BYTES + i] = piece ? (batch.kinds[i] as number) : Kind.zero;
    tables.writeUInt32LE(piece?.length ?? 0, BATCH_FIXED_BYTES + count + i * 4);
    if (piece) payload.add(piece);
  }
  tables.writeUInt32LE(payload.bytes, 12);
  batch.known.copy(tables, BATCH_FIXED_BYTES + count * 5, 0, count * DIGEST_BYTES);
  return { tables, payload: payload.list };
};

/** Where batches may lie. */
export interface StreamBounds {
  readonly imageSize: number;
  /** The first image byte that has not come yet. */
  readonly next: number;
}

/**
 * Begins a leased batch as the tables of a section say; `payload` is where its pieces go, in order. Everything is
 * checked against the slab and the image first.
 */
export const decodeBatch = (
  tables: Buffer,
  batch: Batch,
  { imageSize, next }: StreamBounds,
): readonly Buffer[] => {
  if (tables.length < BATCH_FIXED_BYTES) throw streamFault('a batch is too short');
  const offset = Number(tables.readBigUInt64LE(0));
  const count = tables.readUInt32LE(8);
  const { clusterSize, clusters } = batch.layout;
  const fits = count >= 1 && count <= clusters && tables.length === tableBytes(count);
  const follows = offset % clusterSize === 0 && offset >= next && offset < imageSize;
  if (!fits || !follows || offset + (count - 1) * clusterSize >= imageSize) {
    throw streamFault('a batch is not where it may be');
  }
  batch.begin(offset, Math.min(count * clusterSize, imageSize - offset));
  const payload = new Pieces();
  let packed = 0;
  for (let i = 0; i < count; i += 1) {
    const kind = tables[BATCH_FIXED_BYTES + i] as number;
    const length = tables.readUInt32LE(BATCH_FIXED_BYTES + count + i * 4);
    const right =
      (kind === Kind.zero && length === 0) ||
      (kind === Kind.plain && length === clusterSize) ||
      (kind === Kind.packed && length > 0 && length < clusterSize);
    if (!right) throw streamFault('a cluster is of no known kind');
    batch.kinds[i] = kind;
    batch.lengths[i] = length;
    if (kind === Kind.plain) payload.add(batch.cluster(i));
    if (kind !== Kind.packed) continue;
    batch.starts[i] = packed;
    payload.add(batch.packed.subarray(packed, packed + length));
    packed += length;
  }
  if (payload.bytes !== tables.readUInt32LE(12)) throw streamFault('a batch does not add up');
  tables.copy(batch.known, 0, BATCH_FIXED_BYTES + count * 5, tables.length);
  return payload.list;
};

/** What the last section says: how many batches and clusters came before. */
export interface StreamTotals {
  readonly batches: number;
  readonly clusters: number;
}

export const encodeEnd = ({ batches, clusters }: StreamTotals): Buffer => {
  const tables = Buffer.alloc(END_BYTES);
  tables.writeBigUInt64LE(BigInt(batches), 0);
  tables.writeBigUInt64LE(BigInt(clusters), 8);
  return tables;
};

export const isEndOf = (tables: Buffer, totals: StreamTotals): boolean =>
  tables.equals(encodeEnd(totals));

export const encodeHead = (kind: SectionKind, length: number): Buffer => {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(kind, 0, 'latin1');
  head.writeUInt32LE(length, 4);
  return head;
};

/** Reads a section's head; its length may be whatever. */
export const decodeHead = (head: Buffer): { kind: SectionKind; length: number } => {
  const kind = head.toString('latin1', 0, 1);
  const known = kind === 'H' || kind === 'B' || kind === 'E';
  if (!known || head.readUIntLE(1, 3) !== 0) throw streamFault('a section is of no known kind');
  return { kind, length: head.readUInt32LE(4) };
};

/** Seals one section after another. */
export class Sealer {
  readonly #digester = openDigester({ algorithm: 'xxh3-128', seed: new Uint8Array(8) });
  #last = Buffer.alloc(SEAL_BYTES);

  /** The seal of the next section. */
  seal(head: Buffer, tables: Buffer): Buffer {
    const seal = Buffer.alloc(SEAL_BYTES);
    this.#digester.digest(Buffer.concat([this.#last, head, tables]), seal, 0);
    this.#last = seal;
    return seal;
  }
}
