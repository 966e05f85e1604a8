// Turns sound stores into hostile ones: fields, tables, records and payloads as somebody would choose them who
// wants a reader to crash, to hang or to fill the memory. The same seed gives the same file.

import zlib from 'node:zlib';
import binding from 'zstd-napi/binding.js';
import { openDigester } from '../../disk/index.js';
import type { Random } from './files.js';
import type { Chart, Field } from './hostile-chart.js';
import type { Seed } from './hostile-seeds.js';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A store under mutation. */
export interface Mutant {
  /** What the file holds; zeros follow up to `size`, or it is cut there. */
  readonly raw: Buffer;
  size: number;
  readonly done: string[];
}

type Mutation = (mutant: Mutant, chart: Chart, random: Random) => void;

const one = <T>(from: readonly T[], random: Random): T | undefined =>
  from[random.below(from.length)];

const BOMB_BYTES = [8 * KiB, 1 * MiB, 16 * MiB] as const;
/** Frames and streams that decode to far more than a cluster. */
export const BOMBS: readonly Buffer[] = BOMB_BYTES.flatMap((bytes) => {
  const zeros = Buffer.alloc(bytes);
  const into = Buffer.alloc(64 * KiB);
  const frame = into.subarray(0, new binding.CCtx().compress2(into, zeros));
  return [Buffer.from(frame), zlib.deflateRawSync(zeros, { windowBits: 12 })];
});

/** Numbers at the edges of types, of the file and of what is in it. */
const wordOf = ({ raw, size }: Mutant, chart: Chart, random: Random): bigint => {
  const { clusterSize, places } = chart;
  const near = (n: number): bigint =>
    BigInt(n) +
    (one([0n, 1n, -1n, 8n, 512n, -512n, BigInt(clusterSize), -BigInt(clusterSize)], random) ?? 0n);
  const place = one(places, random) ?? 0;
  const choices: readonly (() => bigint)[] = [
    () =>
      one(
        [0n, 1n, 2n, 1n << 31n, (1n << 32n) - 1n, 1n << 53n, 1n << 63n, (1n << 64n) - 1n],
        random,
      ) ?? 0n,
    () => 1n << BigInt(random.below(64)),
    () => (1n << BigInt(random.below(64))) - 1n,
    () => near(size),
    () => near(raw.length - (raw.length % clusterSize)),
    () => BigInt(place),
    () => BigInt(place) | (1n << 63n),
    () => BigInt(random.below(Math.ceil(size / clusterSize) + 2) * clusterSize),
    // A payload of as many sectors as a descriptor can say.
    () =>
      (1n << 62n) |
      (((1n << 62n) - 1n) & ~((1n << BigInt(70 - Math.log2(clusterSize))) - 1n)) |
      BigInt(random.below(Math.max(1, size))),
    () => (1n << 62n) | BigInt(random.below(Math.max(1, size))),
    () => BigInt(place) | BigInt(random.below(512)),
    () => (BigInt(random.next()) << 32n) | BigInt(random.next()),
    () => BigInt(random.below(300)),
  ];
  return BigInt.asUintN(64, (one(choices, random) ?? (() => 0n))());
};

/** Enters a number, cut to the field's width. */
const enter = ({ raw }: Mutant, { at, bytes }: Field, value: bigint): void => {
  if (at + bytes > raw.length) return;
  if (bytes === 8) raw.writeBigUInt64BE(value, at);
  else raw.writeUIntBE(Number(BigInt.asUintN(bytes * 8, value)), at, bytes);
};

const inFields =
  (pick: (chart: Chart) => readonly Field[]): Mutation =>
  (mutant, chart, random) => {
    const field = one(pick(chart), random);
    if (field) enter(mutant, field, wordOf(mutant, chart, random));
  };

/** Many entries of a table, all alike. */
const flood: Mutation = (mutant, chart, random) => {
  const from = one([...chart.l1, ...chart.l2, ...chart.refcountTable], random);
  const word = wordOf(mutant, chart, random);
  const count = 1 + random.below(chart.clusterSize / 8);
  for (let i = 0; from && i < count; i += 1) enter(mutant, { at: from.at + i * 8, bytes: 8 }, word);
};

/** Writes something over the beginning of a payload. */
const overPayload =
  (make: (random: Random) => Buffer): Mutation =>
  ({ raw }, { payloads }, random) => {
    const payload = one(payloads, random);
    if (payload) make(random).copy(raw, payload.at);
  };

const lengths = (random: Random): Buffer => {
  const prefix = Buffer.alloc(8);
  for (const at of [0, 4]) {
    const value =
      one([0, 3, 4, 4096, 4097, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, random.next()], random) ?? 0;
    prefix.writeUInt32LE(value, at);
  }
  return prefix.subarray(one([0, 4], random) === 0 ? 0 : 4);
};

const flipPayload: Mutation = ({ raw }, { payloads }, random) => {
  const payload = one(payloads, random);
  if (!payload) return;
  const at = payload.at + random.below(payload.length);
  if (at < raw.length) raw[at] = (raw[at] as number) ^ (1 << random.below(8));
};

const flipAnywhere: Mutation = ({ raw }, _chart, random) => {
  for (let n = 1 + random.below(8); n > 0; n -= 1)
    raw[random.below(raw.length)] = random.below(256);
};

const copyCluster: Mutation = ({ raw }, { clusterSize, places }, random) => {
  const from = one(places, random) ?? 0;
  const to = one(
    [...places, random.below(Math.ceil(raw.length / clusterSize)) * clusterSize],
    random,
  );
  raw.copy(raw, to ?? 0, from, from + clusterSize);
};

const truncate: Mutation = (mutant, chart, random) => {
  const cuts = [
    random.below(mutant.raw.length),
    random.below(chart.clusterSize),
    random.below(200),
  ];
  mutant.size = one(cuts, random) ?? 0;
};

const stretch: Mutation = (mutant, _chart, random) => {
  mutant.size = mutant.raw.length + random.below(2 ** random.below(29));
};

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  header: inFields(({ header }) => header),
  extension: inFields(({ extensions }) => extensions),
  l1: inFields(({ l1 }) => l1),
  l2: inFields(({ l2 }) => l2),
  'refcount table': inFields(({ refcountTable }) => refcountTable),
  refcount: inFields(({ refcounts }) => refcounts),
  snapshot: inFields(({ snapshots }) => snapshots),
  record: inFields(({ records }) => records),
  flood,
  'payload bits': flipPayload,
  bomb: overPayload((random) => one(BOMBS, random) as Buffer),
  'payload lengths': overPayload(lengths),
  bytes: flipAnywhere,
  cluster: copyCluster,
  truncate,
  stretch,
};
export const MUTATION_NAMES: readonly string[] = Object.keys(MUTATIONS);

const checksum = (parts: readonly Uint8Array[]): Buffer => {
  const digest = Buffer.alloc(16);
  openDigester({ algorithm: 'xxh3-128', seed: Buffer.alloc(8) }).digest(
    Buffer.concat(parts),
    digest,
    0,
  );
  return digest.subarray(0, 8);
};

/** Puts the right checksum on the record of the snapshot entry at `at`, if there is room for one. */
export const sealRecord = (raw: Buffer, at: number): void => {
  if (at + 64 > raw.length) return;
  const record = at + 64;
  const extraBytes = raw.readUInt32BE(at + 36);
  const id = record - 24 + extraBytes;
  const tag = id + raw.readUInt16BE(at + 12);
  const end = tag + raw.readUInt16BE(at + 14);
  if (extraBytes < 24 + 104 || end > raw.length) return;
  const identity = [
    raw.toString('utf8', id, tag),
    raw.toString('utf8', tag, end),
    raw.readUInt32BE(at + 16),
    raw.readUInt32BE(at + 20),
    Number(raw.readBigUInt64BE(at + 40)),
    Number(raw.readBigUInt64BE(at + 48)),
    raw.readUInt32BE(at + 8),
  ];
  const sealed = [raw.subarray(record, id - 8), Buffer.from(JSON.stringify(identity))];
  checksum(sealed).copy(raw, id - 8);
};

/** Puts the right checksum on the facts of the store. */
const sealFacts = (raw: Buffer): void => {
  const at = raw.indexOf('nvsn', 0, 'latin1');
  if (at < 0 || at > 512) return;
  const end = at + 8 + raw.readUInt32BE(at + 4);
  if (end - 8 > at + 8 && end <= 512) checksum([raw.subarray(at + 8, end - 8)]).copy(raw, end - 8);
};

/** Case number `index` below `seed`: the same file whenever it is made. */
export const mutate = (from: Seed, chart: Chart, random: Random): Mutant => {
  const mutant: Mutant = { raw: Buffer.from(from.raw), size: from.raw.length, done: [] };
  for (let n = 1 + random.below(4); n > 0; n -= 1) {
    const name = one(MUTATION_NAMES, random) as string;
    (MUTATIONS[name] as Mutation)(mutant, chart, random);
    mutant.done.push(name);
  }
  // Most of the hostile know how a checksum is made.
  if (random.below(4) > 0) for (const at of chart.entries) sealRecord(mutant.raw, at);
  if (random.below(4) > 0) sealFacts(mutant.raw);
  return mutant;
};
