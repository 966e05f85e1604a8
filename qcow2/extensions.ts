// Header extensions (specification, "Header extensions" and "Feature name table"), and our own: the
// facts of the whole store.

import { type DigestAlgorithm, fault } from '../disk/index.js';
import { CHECKSUM_BYTES, checksum, isChecksum } from './checksum.js';
import { formatUuid, parseUuid } from './uuid.js';

const END = 0;
const FEATURE_NAMES = 0x6803_f857;
/** "nvsn": readers that do not know it skip it, and QEMU keeps it when it rewrites the header. */
const STORE_FACTS = 0x6e76_736e;
/** The name of a feature has room for so many bytes. */
export const FEATURE_NAME_BYTES = 46;
const FACTS_VERSION = 1;
const FACTS_FIXED_BYTES = 28;
/** What the sector that is published has room for, beside the header and the other extensions. */
const MAX_CHAIN_BYTES = 280;

/** How a store's compressed clusters are encoded. The first two are qcow2's own. */
export type CodecName = 'zstd' | 'zlib' | 'none' | 'lz4';

/** What is true of the whole store, written once when it is made. */
export interface StoreFacts {
  readonly uuid: string;
  readonly digest: DigestAlgorithm;
  /** Random key of the digests, 8 bytes. */
  readonly seed: Uint8Array;
  readonly codec: CodecName;
  /** The reversible stages that payloads went through after the codec, in that order. */
  readonly chain: readonly ChainEntry[];
}

/** A reversible stage as a store keeps it. */
export interface ChainEntry {
  readonly name: string;
  readonly version: string;
  /** Where its code came from, for people. */
  readonly module: string;
  /** What it keeps of its options; never a secret. */
  readonly kept: unknown;
  /** True when it holds the key of the digests, in place of `seed`. */
  readonly keyed: boolean;
}

export interface Extension {
  readonly type: number;
  readonly data: Buffer;
}

const CODECS: readonly CodecName[] = ['zstd', 'zlib', 'none', 'lz4'];
const DIGESTS: readonly DigestAlgorithm[] = ['xxh3-128', 'blake3'];

export const isCodecName = (name: string): name is CodecName =>
  (CODECS as readonly string[]).includes(name);

/** Splits the bytes between the header and the end of its cluster into extensions. */
export const decodeExtensions = (path: string, raw: Buffer, from: number): Extension[] => {
  const found: Extension[] = [];
  let at = from;
  while (at + 8 <= raw.length) {
    const type = raw.readUInt32BE(at);
    if (type === END) return found;
    const length = raw.readUInt32BE(at + 4);
    if (length > raw.length - at - 8) {
      throw fault('store-damaged', { path, problem: 'a header extension leaves its cluster' });
    }
    found.push({ type, data: raw.subarray(at + 8, at + 8 + length) });
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
};

/** Encodes extensions and the end mark. */
export const encodeExtensions = (extensions: readonly Extension[]): Buffer =>
  Buffer.concat([
    ...extensions.map(({ type, data }) => {
      const raw = Buffer.alloc(8 + Math.ceil(data.length / 8) * 8);
      raw.writeUInt32BE(type, 0);
      raw.writeUInt32BE(data.length, 4);
      raw.set(data, 8);
      return raw;
    }),
    Buffer.alloc(8),
  ]);

/** A feature name table that names incompatible bits, so that QEMU's refusal can be understood. */
export const featureNames = (names: ReadonlyMap<number, string>): Extension => ({
  type: FEATURE_NAMES,
  data: Buffer.concat(
    [...names].map(([bit, name]) => {
      const entry = Buffer.alloc(2 + FEATURE_NAME_BYTES);
      entry.writeUInt8(bit, 1);
      entry.write(name, 2, FEATURE_NAME_BYTES, 'utf8');
      return entry;
    }),
  ),
});

export const isFeatureNames = ({ type }: Extension): boolean => type === FEATURE_NAMES;

/** The name that the file's own table gives an incompatible feature bit, if any. */
export const nameOfFeature = (
  extensions: readonly Extension[],
  bit: number,
): string | undefined => {
  const table = extensions.find(({ type }) => type === FEATURE_NAMES)?.data;
  const entryBytes = 2 + FEATURE_NAME_BYTES;
  for (let at = 0; table && at + entryBytes <= table.length; at += entryBytes) {
    if (table.readUInt8(at) !== 0 || table.readUInt8(at + 1) !== bit) continue;
    return table
      .subarray(at + 2, at + entryBytes)
      .toString('utf8')
      .replace(/\0.*$/s, '');
  }
  return undefined;
};

/** What is said of the reversible stages: [[name, version, module, kept, 1 if keyed], …] as JSON, or nothing. */
const encodeChain = (chain: readonly ChainEntry[]): Buffer => {
  if (chain.length === 0) return Buffer.alloc(0);
  const rows = chain.map(({ name, version, module, kept, keyed }) => [
    name,
    version,
    module,
    kept,
    keyed ? 1 : 0,
  ]);
  const raw = Buffer.from(JSON.stringify(rows));
  if (raw.length <= MAX_CHAIN_BYTES) return raw;
  throw fault('usage', {
    problem: `What is to be kept of the reversible stages takes ${raw.length} bytes, and a store has room for ${MAX_CHAIN_BYTES}.`,
    advice: 'Give fewer of them, or such as keep less.',
  });
};

const isChainRow = (row: unknown): row is [string, string, string, unknown, number] =>
  Array.isArray(row) &&
  row.length === 5 &&
  row.slice(0, 3).every((text) => typeof text === 'string') &&
  (row[4] === 0 || row[4] === 1);

const decodeChain = (path: string, raw: Buffer): ChainEntry[] => {
  if (raw.length === 0) return [];
  if (raw.length > MAX_CHAIN_BYTES) {
    throw fault('store-damaged', { path, problem: 'it says more of its stages than it can' });
  }
  let rows: unknown;
  try {
    rows = JSON.parse(raw.toString('utf8'));
  } catch {
    rows = undefined;
  }
  if (!Array.isArray(rows) || rows.length === 0 || !rows.every(isChainRow)) {
    throw fault('store-damaged', { path, problem: 'what it says of its stages cannot be read' });
  }
  return rows.map(([name, version, module, kept, keyed]) => ({
    name,
    version,
    module,
    kept,
    keyed: keyed === 1,
  }));
};

/** Encodes the store's facts: 28 fixed bytes, the codec's name, its reversible stages, a checksum of all before it. */
export const encodeFacts = (facts: StoreFacts): Extension => {
  const codec = Buffer.from(facts.codec, 'utf8');
  const fixed = Buffer.alloc(FACTS_FIXED_BYTES);
  fixed.writeUInt8(FACTS_VERSION, 0);
  fixed.writeUInt8(DIGESTS.indexOf(facts.digest) + 1, 1);
  fixed.writeUInt8(codec.length, 2);
  fixed.set(parseUuid(facts.uuid), 4);
  fixed.set(facts.seed, 20);
  const body = Buffer.concat([fixed, codec, encodeChain(facts.chain)]);
  return { type: STORE_FACTS, data: Buffer.concat([body, checksum(body)]) };
};

/** Finds and decodes the store's facts; undefined when nvsnap did not make the file. */
export const decodeFacts = (
  path: string,
  extensions: readonly Extension[],
): StoreFacts | undefined => {
  const data = extensions.find(({ type }) => type === STORE_FACTS)?.data;
  if (!data) return undefined;
  const body = data.subarray(0, -CHECKSUM_BYTES);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (body.length < FACTS_FIXED_BYTES || !isChecksum(body, view, body.length)) {
    throw fault('store-damaged', {
      path,
      problem: "the store's facts do not match their checksum",
    });
  }
  if (body.readUInt8(0) !== FACTS_VERSION) {
    throw fault('store-unsupported', { path, feature: `store version ${body.readUInt8(0)}` });
  }
  const digest = DIGESTS[body.readUInt8(1) - 1];
  const codecEnd = FACTS_FIXED_BYTES + body.readUInt8(2);
  const codec = body.subarray(FACTS_FIXED_BYTES, codecEnd).toString('utf8');
  if (!digest || !isCodecName(codec)) {
    throw fault('store-unsupported', { path, feature: `the codec or digest "${codec}"` });
  }
  return {
    uuid: formatUuid(body.toString('hex', 4, 20)),
    digest,
    seed: body.subarray(20, 28),
    codec,
    chain: decodeChain(path, body.subarray(codecEnd)),
  };
};

/** True when the payloads of such a store are not what qcow2 defines, so that only nvsnap may open it. */
export const isPrivate = ({ codec, chain }: Pick<StoreFacts, 'codec' | 'chain'>): boolean =>
  codec === 'lz4' || chain.length > 0;
