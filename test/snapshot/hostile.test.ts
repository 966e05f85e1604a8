// Hostile files by name: loops, overlaps, sizes that nothing can have, and payloads that claim or decode to more
// than a cluster. Every command answers or refuses each of them, soon and in little memory.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { check, Fault } from '../../snapshot/index.js';
import { tempDir } from '../tools/files.js';
import { BOMBS, sealRecord } from '../tools/hostile.js';
import { type Chart, chartOf } from '../tools/hostile-chart.js';
import { hostImage, makeSeeds, type Seed } from '../tools/hostile-seeds.js';
import { Ordeal } from '../tools/ordeal.js';
import { peakMemory } from '../tools/peak.js';

t.setTimeout(240_000);

/** Far below what the files claim, far above what their size needs. */
const MAX_GROWTH_BYTES = 256 * 2 ** 20;

const HEADER = { clusterBits: 20, diskSize: 24, l1Size: 36, l1: 40, tableClusters: 56, count: 60 };

/** Does something to a store, which the chart shows the way in. */
type Harm = (raw: Buffer, chart: Chart) => void;

/** What must come of it. */
interface Verdict {
  /** At least one restore is refused, with this code. */
  readonly refused?: string;
  /** Nothing but a check need notice. */
  readonly reported?: boolean;
}

const seeds = await makeSeeds(tempDir(t));
const seedNamed = (name: string): Seed => {
  const seed = seeds.find((one) => one.name === name);
  if (!seed) throw new Error(`there is no ${name}`);
  return seed;
};
const [NONE, ZSTD, ZLIB, LZ4] = ['none', 'zstd', 'zlib', 'lz4'].map((codec) =>
  seedNamed(`nvsnap ${codec}`),
) as [Seed, Seed, Seed, Seed];
const OLD = seedNamed('qemu 0.10 zlib 4096 16');
const NEW = seedNamed('qemu 1.1 zstd 4096 64');

/** True when a check refuses the file, or finds damage. */
const isNoticed = async (store: string): Promise<boolean> => {
  try {
    const { corruptions, leaks } = await check({ store });
    return corruptions + leaks > 0;
  } catch (error) {
    if (error instanceof Fault) return true;
    throw error;
  }
};

/** Puts a harmed store through every trial. */
const suffer = async (t: Test, name: string, seed: Seed, harm: Harm, verdict: Verdict) => {
  const folder = fs.mkdtempSync(join(tempDir(t), 'ordeal-'));
  const ordeal = new Ordeal(folder, hostImage(9));
  ordeal.hold(seed.raw);
  const chart = chartOf(ordeal.store);
  const raw = Buffer.from(seed.raw);
  harm(raw, chart);
  t.notOk(raw.equals(seed.raw), `${name}: something is done to ${seed.name}`);
  ordeal.hold(raw);
  const codes = new Set<string>();
  for (const trial of Object.keys(ordeal.trials)) {
    try {
      const endings = await ordeal.undergo(trial, seed.tags);
      if (trial !== 'restore') continue;
      for (const { fault } of endings) if (fault) codes.add(fault.code);
    } catch (error) {
      t.fail(`${name}, ${seed.name}: ${String(error)}`);
    }
  }
  if (verdict.refused)
    t.ok(codes.has(verdict.refused), `${name}, ${seed.name}: refused`, { codes });
  if (verdict.reported) t.ok(await isNoticed(ordeal.store), `${name}, ${seed.name}: reported`);
};

const word = (raw: Buffer, at: number, value: number | bigint): void => {
  raw.writeBigUInt64BE(BigInt(value), at);
};

/** Table entries whose place is not 0, as [where the entry is, where it leads]. */
const leads = (raw: Buffer, fields: Chart['l1']): [at: number, to: number][] =>
  fields
    .map(({ at }): [number, number] => [at, Number(raw.readBigUInt64BE(at) & 0xff_ffff_ffff_fe00n)])
    .filter(([, to]) => to !== 0);

/** Overwrites every entry in use of all L1 tables. */
const everyL1 =
  (value: (at: number, raw: Buffer, chart: Chart) => number): Harm =>
  (raw, chart) => {
    for (const [at] of leads(raw, chart.l1)) word(raw, at, value(at, raw, chart));
  };

const LOOPS: Readonly<Record<string, Harm>> = {
  'L1 tables that lead to themselves': everyL1((at) => at - (at % 4096)),
  'L2 tables that lead to the L1 tables': (raw, { l1, l2 }) => {
    const [[home] = [0]] = leads(raw, l1);
    for (const [at] of leads(raw, l2)) word(raw, at, home - (home % 4096));
  },
  'L2 tables that lead to themselves': (raw, { l2 }) => {
    for (const [at] of leads(raw, l2)) word(raw, at, at - (at % 4096));
  },
  'a refcount table that leads to itself': (raw, { refcountTable }) => {
    for (const { at } of refcountTable) word(raw, at, at - (at % 4096));
  },
};

t.test('tables with loops', async (t) => {
  for (const [name, harm] of Object.entries(LOOPS)) {
    const isRead = !name.includes('refcount');
    for (const seed of [NONE, ZSTD, OLD, NEW]) {
      // Where there are no digests, a loop may well lead to what can be data.
      const refused = isRead && seed.own ? { refused: 'store-damaged' } : {};
      await suffer(t, name, seed, harm, { reported: true, ...refused });
    }
  }
});

const OVERLAPS: Readonly<Record<string, Harm>> = {
  'all L2 tables in the header': everyL1(() => 0x1_0000_0000),
  'all L2 tables in one place': everyL1((_at, raw, { l1 }) => leads(raw, l1)[0]?.[1] ?? 0),
  'L2 tables in the refcount table': everyL1(
    (_at, _raw, { refcountTable }) => refcountTable[0]?.at ?? 0,
  ),
  'a snapshot table in an L1 table': (raw, { l1 }) => word(raw, 64, l1[0]?.at ?? 0),
  'an L1 table in the header': (raw) => word(raw, HEADER.l1, 0),
};

t.test('tables that overlap', async (t) => {
  for (const [name, harm] of Object.entries(OVERLAPS)) {
    for (const seed of [NONE, ZSTD, OLD, NEW])
      await suffer(t, name, seed, harm, { reported: true });
  }
});

/** Enters a number at a place in the entry of every snapshot, with the right checksum. */
const inEntries =
  (at: number, bytes: 4 | 8, value: bigint, also: Harm = () => {}): Harm =>
  (raw, chart) => {
    also(raw, chart);
    for (const entry of chart.entries) {
      if (bytes === 8) raw.writeBigUInt64BE(value, entry + at);
      else raw.writeUInt32BE(Number(value), entry + at);
      sealRecord(raw, entry);
    }
  };

const MOST_32 = 2n ** 32n - 1n;
const MOST_DOUBLE = 2n ** 53n - 1n;

const SIZES: Readonly<Record<string, Harm>> = {
  'a cluster of 2^63 bytes': (raw) => raw.writeUInt32BE(63, HEADER.clusterBits),
  'a disk of 2^63 bytes': (raw) => word(raw, HEADER.diskSize, 2n ** 63n),
  'an L1 table of 2^32 entries': (raw) => raw.writeUInt32BE(0xffff_ffff, HEADER.l1Size),
  'a refcount table of 2^32 clusters': (raw) =>
    raw.writeUInt32BE(0xffff_ffff, HEADER.tableClusters),
  '2^32 snapshots': (raw) => raw.writeUInt32BE(0xffff_ffff, HEADER.count),
  '65536 snapshots': (raw) => raw.writeUInt32BE(65536, HEADER.count),
  'extra data of 2^32 bytes': inEntries(36, 4, MOST_32),
  'a snapshot with 2^32 L1 entries': inEntries(8, 4, MOST_32),
};

t.test('sizes that nothing can have', async (t) => {
  const before = peakMemory();
  for (const [name, harm] of Object.entries(SIZES)) {
    for (const seed of [NONE, OLD, NEW]) {
      await suffer(t, name, seed, harm, { refused: 'store-damaged', reported: true });
    }
  }
  // Version 2 does not say how large a snapshot's disk is.
  const disk = inEntries(48, 8, MOST_DOUBLE);
  const image = inEntries(64 + 40, 8, MOST_DOUBLE);
  const both = inEntries(64 + 40, 8, MOST_DOUBLE - 511n, inEntries(48, 8, MOST_DOUBLE - 511n));
  const table = inEntries(8, 4, MOST_32, disk);
  for (const [name, harm] of Object.entries({ disk, image, both, table })) {
    await suffer(t, `a huge ${name}`, NONE, harm, { refused: 'store-damaged', reported: true });
  }
  await suffer(t, 'a huge disk', NEW, disk, { refused: 'store-damaged', reported: true });
  const growth = peakMemory() - before;
  t.ok(growth < MAX_GROWTH_BYTES, 'nothing is allocated on their word', { growth });
});

/** Writes the same over every payload that has the room. */
const everyPayload =
  (bytes: Buffer): Harm =>
  (raw, { payloads }) => {
    for (const { at } of payloads) bytes.copy(raw, at);
  };

/** A zstd frame of `blocks` blocks, each of 128 KiB of zeros, that says of itself to hold `claim` bytes. */
const frame = (blocks: number, claim: bigint): Buffer => {
  const raw = Buffer.alloc(13 + blocks * 4);
  raw.writeUInt32LE(0xfd2f_b528, 0);
  raw.writeUInt8(0xe0, 4); // one segment, 8 bytes of size
  raw.writeBigUInt64LE(claim, 5);
  for (let i = 0; i < blocks; i += 1) {
    const isLast = i === blocks - 1 ? 1 : 0;
    raw.writeUIntLE(isLast | (1 << 1) | (131_072 << 3), 13 + i * 4, 3);
  }
  return raw;
};

t.test('payloads that decode to more than a cluster', async (t) => {
  const before = peakMemory();
  const frames = [
    frame(20, 20n * 131_072n),
    frame(20, 4096n),
    frame(20, 2n ** 63n),
    frame(2000, 2000n * 131_072n),
  ];
  for (const bomb of [...BOMBS, ...frames]) {
    for (const seed of [ZSTD, ZLIB, LZ4, OLD, NEW]) {
      const name = `${bomb.length} bytes that begin with ${bomb.toString('hex', 0, 4)}`;
      await suffer(t, name, seed, everyPayload(bomb.subarray(0, 3000)), {});
    }
  }
  for (const [seed, bomb] of [
    [ZSTD, BOMBS[0]],
    [ZLIB, BOMBS[1]],
    [OLD, BOMBS[1]],
    [NEW, BOMBS[0]],
    [NEW, frames[0]],
  ] as const) {
    await suffer(t, 'a bomb', seed, everyPayload(bomb as Buffer), { refused: 'payload-damaged' });
  }
  const growth = peakMemory() - before;
  t.ok(growth < MAX_GROWTH_BYTES, 'none of them unfolds', { growth });
});

t.test('lz4 payloads that claim other lengths', async (t) => {
  const before = peakMemory();
  const claims = [0, 1, 3, 4, 4095, 4097, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
  for (const claim of claims) {
    for (const at of [0, 4]) {
      const harm: Harm = (raw, { payloads }) => {
        for (const payload of payloads) raw.writeUInt32LE(claim, payload.at + at);
      };
      const name = `${claim} in bytes ${at} to ${at + 3}`;
      await suffer(t, name, LZ4, harm, { refused: 'payload-damaged' });
    }
  }
  const growth = peakMemory() - before;
  t.ok(growth < MAX_GROWTH_BYTES, 'nothing is allocated on their word', { growth });
});
