// What every single byte of a store is for, found by following its tables: the key to saying which bytes
// must not turn over unnoticed.

import fs from 'node:fs';
import zlib from 'node:zlib';
import { uncompressSync } from 'lz4-napi';
import binding from 'zstd-napi/binding.js';
import { DIGEST_BYTES, type HostOffset } from '../../disk/index.js';
import { decodePacked, kindOf, offsetOf, type Snapshot, type Store } from '../../qcow2/index.js';
import { withTables } from './tables.js';

/** What a byte is for. The first ones are quiet: nobody need notice when they turn over. */
export const PARTS = [
  'unused',
  'header, idle fields',
  'snapshot table, idle fields',
  'empty L2 entry',
  'payload length in L2 entry',
  'behind the image',
  'payload, idle bits',
  // from here on every byte says something
  'header',
  'facts',
  'snapshot table',
  'L1 entry',
  'L2 entry',
  'refcounts',
  'digests',
  'data',
  'payload',
] as const;
export type Part = (typeof PARTS)[number];

const FIRST_TELLING = PARTS.indexOf('header');

/** True for parts of which every byte says something. */
export const isTelling = (part: Part): boolean => PARTS.indexOf(part) >= FIRST_TELLING;

/** Entry fields that mean nothing to a reader: the guest's clock, a size that has moved, icount. */
const IDLE_ENTRY_FIELDS = [
  [24, 36],
  [56, 64],
] as const;
/** The length of a backing file's name, compatible and autoclear bits, padding. */
const IDLE_HEADER_FIELDS = [
  [16, 20],
  [80, 96],
  [105, 112],
] as const;

const MAX_CLUSTER_BYTES = 2 ** 21;

/** The head of the frame that reversible stages' payloads have. */
const FRAME_BYTES = 8;

const payloadBytes = (codec: string | undefined, framed: boolean, from: Buffer): number => {
  if (framed) return FRAME_BYTES + from.readUInt32LE(0);
  if (codec === 'zstd') return binding.findFrameCompressedSize(from);
  if (codec === 'lz4') return 4 + from.readUInt32LE(0);
  const options: zlib.ZlibOptions & { info: true } = { info: true };
  const inflated = zlib.inflateRawSync(from, options) as unknown as {
    readonly engine: { readonly bytesWritten: number };
  };
  return inflated.engine.bytesWritten;
};

/** A payload in a store: its exact bytes. */
export interface Payload {
  readonly start: number;
  readonly end: number;
}

/** The parts of a store, byte by byte, as indexes in PARTS; and its payloads. */
export interface RotChart {
  readonly parts: Uint8Array;
  readonly payloads: readonly Payload[];
  readonly codec: string | undefined;
}

/** What a payload decodes to with the codec's own library; undefined when that refuses. */
const decoded = (codec: string | undefined, payload: Buffer): Buffer | undefined => {
  try {
    if (codec === 'zlib') return zlib.inflateRawSync(payload);
    if (codec === 'lz4') return uncompressSync(payload.subarray(4));
    const into = Buffer.alloc(MAX_CLUSTER_BYTES);
    return into.subarray(0, new binding.DCtx().decompress(into, payload));
  } catch {
    return undefined;
  }
};

/**
 * True when a payload decodes to the same after a change: RFC 8878 has a bit that is to be ignored, and where
 * content repeats itself a match may begin elsewhere.
 */
export const decodesAlike = ({ codec }: RotChart, before: Buffer, after: Buffer): boolean => {
  const content = decoded(codec, before);
  return content !== undefined && decoded(codec, after)?.equals(content) === true;
};

/** Draws the chart of one store. */
class Charter {
  readonly payloads: Payload[] = [];
  readonly codec: string | undefined;
  readonly parts: Uint8Array;
  readonly #store: Store;
  readonly #raw: Buffer;

  constructor(store: Store) {
    this.#store = store;
    this.codec = store.facts?.codec;
    this.#raw = fs.readFileSync(store.path);
    this.parts = new Uint8Array(this.#raw.length);
  }

  #mark(part: Part, start: number, end: number): void {
    this.parts.fill(PARTS.indexOf(part), start, end);
  }

  header(): void {
    this.#mark('header', 0, 112);
    for (const [start, end] of IDLE_HEADER_FIELDS) this.#mark('header, idle fields', start, end);
    let at = 112;
    for (const { data } of this.#store.extensions) {
      const isFacts = this.#raw.toString('latin1', at, at + 4) === 'nvsn';
      if (isFacts) this.#mark('facts', at, at + 8 + data.length);
      at += 8 + Math.ceil(data.length / 8) * 8;
    }
  }

  snapshotTable(): void {
    let at = this.#store.header.snapshotsOffset;
    for (const { entry } of this.#store.snapshots) {
      const length = 64 + entry.extra.length + entry.id.length + entry.tag.length;
      this.#mark('snapshot table', at, at + length);
      for (const [start, end] of IDLE_ENTRY_FIELDS) {
        this.#mark('snapshot table, idle fields', at + start, at + end);
      }
      at += Math.ceil(length / 8) * 8;
    }
  }

  refcounts(): void {
    const { refcountTableOffset, refcountTableClusters } = this.#store.header;
    const { clusterSize } = this.#store.geometry;
    const end = refcountTableOffset + refcountTableClusters * clusterSize;
    this.#mark('refcounts', refcountTableOffset, end);
    for (let at = refcountTableOffset; at < end; at += 8) {
      const block = Number(this.#raw.readBigUInt64BE(at));
      if (block !== 0) this.#mark('refcounts', block, block + clusterSize);
    }
  }

  activeL1(): void {
    const { l1Offset, l1Entries } = this.#store.header;
    this.#mark('L1 entry', l1Offset, l1Offset + l1Entries * 8);
  }

  snapshot(snapshot: Snapshot): void {
    const { entry, record } = snapshot;
    const { geometry } = this.#store;
    this.#mark('L1 entry', entry.l1Offset, entry.l1Offset + entry.l1Entries * 8);
    const l1 = this.#store.l1(entry);
    const digestL1 = record?.digestL1 ?? 0;
    for (let i = 0; i < l1.length; i += 1) {
      const l2 = offsetOf(l1.hi(i), l1.lo(i));
      if (l2 === 0) continue;
      if (i < digestL1) this.#disk(snapshot, l2, i * geometry.l2Entries);
      else this.#digestArea(snapshot, l2);
    }
  }

  #disk({ record }: Snapshot, l2: HostOffset, first: number): void {
    const { clusterSize } = this.#store.geometry;
    const size = record?.imageSize ?? 0;
    this.#l2(l2, (i, hi, lo) => {
      const end = Math.min(clusterSize, size - (first + i) * clusterSize);
      if (kindOf(hi, lo) === 'plain') {
        const at = offsetOf(hi, lo);
        this.#mark('behind the image', at + end, at + clusterSize);
        this.#mark('data', at, at + end);
      } else this.#payload(hi, lo, end === clusterSize);
    });
  }

  #payload(hi: number, lo: number, whole: boolean): void {
    const { offset, length } = decodePacked(hi, lo, this.#store.geometry.clusterBits);
    const raw = this.#raw.subarray(offset, offset + length);
    const framed = (this.#store.facts?.chain.length ?? 0) > 0;
    const used = payloadBytes(this.codec, framed, raw);
    // Of a short cluster's payload, a part decodes to what follows the image.
    this.payloads.push({ start: offset, end: offset + used });
    this.#mark(whole ? 'payload' : 'behind the image', offset, offset + used);
  }

  #digestArea({ record }: Snapshot, l2: HostOffset): void {
    const { geometry } = this.#store;
    const size = record?.imageSize ?? 0;
    const table = geometry.clusters(geometry.clusters(size) * DIGEST_BYTES);
    this.#l2(l2, (i, hi, lo) => {
      const at = offsetOf(hi, lo);
      const used = i < table ? geometry.clusterSize : table * DIGEST_BYTES;
      this.#mark('digests', at, at + used);
    });
  }

  /** Marks the entries of an L2 table, and shows those in use. */
  #l2(offset: HostOffset, show: (i: number, hi: number, lo: number) => void): void {
    const table = this.#store.l2(offset);
    for (let i = 0; i < table.length; i += 1) {
      const [hi, lo] = [table.hi(i), table.lo(i)];
      const used = (hi | lo) !== 0;
      const at = offset + i * 8;
      this.#mark(used ? 'L2 entry' : 'empty L2 entry', at, at + 8);
      // In 512-byte sectors, and a reader may well read too many of them.
      if (used && kindOf(hi, lo) === 'packed') this.#mark('payload length in L2 entry', at, at + 1);
      if (used) show(i, hi, lo);
    }
  }
}

/** What each byte of a store is for. */
export const chartOf = (path: string): RotChart =>
  withTables(path, (store) => {
    const charter = new Charter(store);
    charter.header();
    charter.snapshotTable();
    charter.refcounts();
    charter.activeL1();
    for (const snapshot of store.snapshots) charter.snapshot(snapshot);
    return charter;
  });
