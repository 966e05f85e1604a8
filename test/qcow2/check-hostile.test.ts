// Two promises of a check: no bit of a table can turn over unnoticed, and no file, whatever is in it,
// makes the check throw anything but a fault, or run forever.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { type CheckReport, checkStore } from '../../qcow2/check.js';
import { MAX_KEPT_FINDINGS } from '../../qcow2/findings.js';
import { Refcounts } from '../../qcow2/refcounts.js';
import { encodeSnapshots } from '../../qcow2/snapshots.js';
import { Store } from '../../qcow2/store.js';
import type { Table } from '../../qcow2/table.js';
import { offsetOf } from '../../qcow2/words.js';
import { patch, tempDir } from '../tools/files.js';
import { qemuImg } from '../tools/qemu.js';
import { faultOf, holds } from './codecs.js';
import { makeStore, Patient } from './patient.js';

/** Host bytes [start, end). */
type Range = readonly [start: number, end: number];

const checkFile = (path: string): CheckReport => {
  const store = Store.open(path, 'r');
  try {
    return checkStore(store);
  } finally {
    store.file.close();
  }
};

const offsetsIn = (table: Table): number[] =>
  Array.from({ length: table.length }, (_, i) => offsetOf(table.hi(i), table.lo(i))).filter(
    (offset) => offset !== 0,
  );

const l1Ranges = ({ header, snapshots }: Store): Range[] => [
  [header.l1Offset, header.l1Offset + header.l1Entries * 8],
  ...snapshots.map(({ entry }): Range => [entry.l1Offset, entry.l1Offset + entry.l1Entries * 8]),
];

/** L2 tables, and the clusters of digests below them. */
const belowL1 = (store: Store): { readonly l2: Range[]; readonly digests: Range[] } => {
  const l2 = new Set<number>();
  const digests = new Map<number, number>();
  for (const { entry, record } of store.snapshots) {
    const l1 = store.l1(entry);
    for (const offset of offsetsIn(l1)) l2.add(offset);
    const digestL2 = offsetOf(l1.hi(record?.digestL1 ?? 0), l1.lo(record?.digestL1 ?? 0));
    // 48 digests are one cluster; its own digest is all there is in the one after it, the index.
    const [table = 0, index = 0] = offsetsIn(store.l2(digestL2));
    digests.set(table, store.geometry.clusterSize).set(index, 16);
  }
  return {
    l2: [...l2].map((offset) => [offset, offset + store.geometry.clusterSize]),
    digests: [...digests].map(([offset, length]) => [offset, offset + length]),
  };
};

const refcountRanges = (store: Store): Range[] => {
  const { refcountTableOffset: table } = store.header;
  const { clusterSize } = store.geometry;
  const blocks = Refcounts.load(store).blockOffsets.filter((offset) => offset !== 0);
  return [table, ...blocks].map((offset) => [offset, offset + clusterSize]);
};

/** The snapshot table, but for what says nothing: clocks, a field that has moved, padding. */
const snapshotRanges = ({ header, snapshots }: Store): Range[] => {
  let at = header.snapshotsOffset;
  return snapshots.flatMap(({ entry }): Range[] => {
    const start = at;
    const end = start + 64 + entry.extra.length + entry.id.length + entry.tag.length;
    at += Math.ceil((end - start) / 8) * 8;
    return [
      [start, start + 24],
      [start + 36, start + 56],
      [start + 64, end],
    ];
  });
};

/** The header, but for the length of a backing file's name and the compatible and autoclear bits. */
const HEADER: readonly Range[] = [
  [0, 16],
  [20, 80],
  [96, 105],
];

/**
 * Bit 62 makes a payload in the same place out of a cluster, which only its decoder can tell; and
 * an entry that leads nowhere reads as zeros with or without the bit that says so.
 */
const isTelling = (patient: Patient, at: number, bit: number): boolean => {
  if (at % 8 === 0 && bit === 6) return false;
  return !(at % 8 === 7 && bit === 0 && patient.word(at - 7) === 0n);
};

t.test('no bit of a table turns over unnoticed', async (t) => {
  const path = await makeStore(tempDir(t), { clusterSize: 4096, compression: 'none' });
  const patient = new Patient(path);
  t.teardown(() => patient.close());
  t.match(checkFile(path), { corruptions: 0, leaks: 0, notes: 0 });
  const { l2, digests } = belowL1(patient.store);
  const groups: Readonly<Record<string, readonly Range[]>> = {
    header: HEADER,
    L1: l1Ranges(patient.store),
    L2: l2,
    refcounts: refcountRanges(patient.store),
    digests,
    snapshots: snapshotRanges(patient.store),
  };
  for (const [name, ranges] of Object.entries(groups)) {
    const bits = fc
      .constantFrom(...ranges)
      .chain(([start, end]) => fc.tuple(fc.integer({ min: start, max: end - 1 }), fc.nat(7)))
      .filter(([at, bit]) => name !== 'L2' || isTelling(patient, at, bit));
    holds(
      t,
      fc.property(bits, ([at, bit]) => {
        patient.flip(at, bit);
        try {
          const fault = faultOf(() => {
            const { corruptions, leaks, notes } = checkFile(path);
            assert.ok(corruptions + leaks + notes > 0, `bit ${bit} of the ${name} at ${at}`);
          });
          assert.notEqual(fault, 'io-failed');
        } finally {
          patient.flip(at, bit);
        }
      }),
      { numRuns: 120 },
    );
  }
  t.match(checkFile(path), { corruptions: 0, leaks: 0, notes: 0 }, 'all is as it was');
});

t.test('a file with wild tables gives a report of bounded length', async (t) => {
  const path = await makeStore(tempDir(t), { clusterSize: 4096, compression: 'zstd' });
  const original = fs.readFileSync(path);
  const { header } = ((): Store => {
    const store = Store.open(path, 'r');
    store.file.close();
    return store;
  })();
  const clusters = original.length / 4096;
  // Words as an attacker would choose them: into the file, at its tables, just past its end.
  const word = fc.oneof(
    fc.nat(clusters + 2).map((cluster) => BigInt(cluster * 4096)),
    fc.nat(clusters).map((cluster) => BigInt(cluster * 4096) | (1n << 63n)),
    fc.nat(original.length).map((offset) => BigInt(offset) | (1n << 62n)),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.constant(BigInt(header.l1Offset)),
  );
  const change = fc.record({
    cluster: fc.nat(clusters - 1),
    slots: fc.array(fc.tuple(fc.nat(511), word), { minLength: 1, maxLength: 60 }),
  });
  holds(
    t,
    fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
      const raw = Buffer.from(original);
      for (const { cluster, slots } of changes) {
        for (const [slot, value] of slots) raw.writeBigUInt64BE(value, cluster * 4096 + slot * 8);
      }
      fs.writeFileSync(path, raw);
      faultOf(() => {
        const report = checkFile(path);
        assert.ok(report.findings.length <= 3 * MAX_KEPT_FINDINGS);
        assert.ok(report.allocatedClusters <= report.clusters);
      });
    }),
    { numRuns: 150 },
  );
});

t.test('a flood of damage is counted whole and kept in part', async (t) => {
  const path = await makeStore(tempDir(t), { clusterSize: 4096, compression: 'none' });
  const patient = new Patient(path);
  t.teardown(() => patient.close());
  for (let i = 0; i < 512; i += 1) patient.setWord(patient.activeL2() + i * 8, (1n << 40n) | 1n);
  const report = checkFile(path);
  t.ok(report.corruptions > 512);
  const kept = report.findings.filter(({ kind }) => kind === 'corruption');
  t.equal(kept.length, MAX_KEPT_FINDINGS);
  t.equal(report.findings.filter(({ kind }) => kind === 'leak').length, report.leaks);
});

t.test('L2 tables in a ring end the check, and each is read once', async (t) => {
  const path = await makeStore(tempDir(t), { clusterSize: 4096, compression: 'none' });
  const patient = new Patient(path);
  t.teardown(() => patient.close());
  const [one, other] = [patient.activeL2(), patient.oldL2()];
  for (let i = 0; i < 512; i += 1) {
    patient.setWord(one + i * 8, BigInt(other));
    patient.setWord(other + i * 8, BigInt(one));
  }
  const { findings } = checkFile(path);
  t.ok(findings.some(({ code }) => code === 'overlap'));
});

t.test('L1 tables that lie in each other, in a hole, are not all read', async (t) => {
  const path = join(tempDir(t), 'x.qcow2');
  t.equal(qemuImg(['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', path, '8M']).status, 0);
  const end = 2 ** 20;
  const entries = Array.from({ length: 300 }, (_, i) => ({
    l1Offset: 2 * end + i * 4096,
    l1Entries: 2 ** 22,
    id: `${i + 1}`,
    tag: `${i + 1}`,
    seconds: 0,
    nanoseconds: 0,
    vmClock: 0n,
    vmStateBytes: 0,
    diskSize: 8 * 2 ** 20,
    icount: 0n,
    extra: Buffer.alloc(0),
  }));
  const counted = Buffer.alloc(12);
  counted.writeUInt32BE(entries.length);
  counted.writeBigUInt64BE(BigInt(end), 4);
  patch(path, encodeSnapshots(path, entries), end);
  patch(path, counted, 60);
  fs.truncateSync(path, 64 * 2 ** 20);
  t.equal(
    faultOf(() => checkFile(path)),
    'store-damaged',
  );
  t.end();
});

t.test('a huge sparse file is refused before anything is allocated for it', async (t) => {
  const path = join(tempDir(t), 'huge.qcow2');
  const args = ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', path, '1M'];
  t.equal(qemuImg(args).status, 0);
  fs.truncateSync(path, 2 ** 29 * 512 + 1);
  t.equal(
    faultOf(() => checkFile(path)),
    'store-unsupported',
  );
});
