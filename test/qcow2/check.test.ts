import t, { type Test } from 'tap';
import { type CheckReport, checkStore } from '../../qcow2/check.js';
import type { FindingCode, FindingKind } from '../../qcow2/findings.js';
import { encodeRecord } from '../../qcow2/record.js';
import { encodeSnapshots } from '../../qcow2/snapshots.js';
import { Store } from '../../qcow2/store.js';
import { tempDir } from '../tools/files.js';
import { check as qemuCheck } from '../tools/qemu.js';
import { damaged, makeStore, type Patient } from './patient.js';

const COPIED = 1n << 63n;

const checkFile = (path: string): CheckReport => {
  const store = Store.open(path, 'r');
  try {
    return checkStore(store);
  } finally {
    store.file.close();
  }
};

/** What qemu-img says of the same file: it counts something, finds nothing or does not open it. */
type Verdict = 'corruptions' | 'leaks' | 'clean' | 'refuses';

interface Damage {
  readonly name: string;
  readonly damage: (patient: Patient) => void;
  readonly finds: readonly [FindingKind, FindingCode];
  readonly qemu: Verdict;
}

const REFCOUNTS: readonly Damage[] = [
  {
    name: 'a refcount one too high',
    damage: (p) => p.addRefcount(p.clusterOf(p.entry(p.oldL2(), 'plain')), 1),
    finds: ['leak', 'refcount-high'],
    qemu: 'leaks',
  },
  {
    name: 'a refcount one too low',
    damage: (p) => p.addRefcount(p.clusterOf(p.entry(p.activeL2(), 'plain')), -1),
    finds: ['corruption', 'refcount-low'],
    qemu: 'corruptions',
  },
  {
    name: 'a refcount for a free cluster',
    damage: (p) => p.addRefcount(p.freeCluster(), 1),
    finds: ['leak', 'refcount-high'],
    qemu: 'leaks',
  },
  {
    name: 'a refcount of 0 for an L1 table',
    damage: (p) => p.addRefcount(p.store.header.l1Offset / p.clusterSize, -1),
    finds: ['corruption', 'refcount-low'],
    qemu: 'corruptions',
  },
  {
    name: 'a refcount block lost',
    damage: (p) => p.setWord(p.store.header.refcountTableOffset, 0n),
    finds: ['corruption', 'refcount-low'],
    qemu: 'corruptions',
  },
  {
    name: 'a refcount block listed twice',
    damage: (p) => {
      const { refcountTableOffset: at } = p.store.header;
      p.setWord(at + 80, p.word(at));
    },
    finds: ['corruption', 'overlap'],
    qemu: 'corruptions',
  },
  {
    name: 'a refcount block off its boundary',
    damage: (p) => p.setWord(p.store.header.refcountTableOffset + 80, 0x1200n),
    finds: ['corruption', 'misaligned'],
    qemu: 'corruptions',
  },
  {
    name: 'a refcount block outside the file',
    damage: (p) => p.setWord(p.store.header.refcountTableOffset + 80, 1n << 40n),
    finds: ['corruption', 'outside-file'],
    qemu: 'corruptions',
  },
  {
    name: 'a reserved bit in the refcount table',
    damage: (p) => p.flip(p.store.header.refcountTableOffset + 7, 3),
    finds: ['corruption', 'reserved-bits'],
    qemu: 'corruptions',
  },
  {
    name: 'no refcount table',
    damage: (p) => p.write(56, Buffer.alloc(4)),
    finds: ['corruption', 'table-missing'],
    qemu: 'refuses',
  },
];

const TABLES: readonly Damage[] = [
  {
    name: 'an L2 entry that leads to another cluster',
    damage: (p) => {
      const [one, other] = p.entries(p.activeL2(), 'plain');
      p.setWord(one as number, p.word(other as number));
    },
    finds: ['corruption', 'refcount-low'],
    qemu: 'corruptions',
  },
  {
    name: 'an L2 entry that leads outside the file',
    damage: (p) => p.setWord(p.entry(p.activeL2(), 'plain'), 1n << 40n),
    finds: ['corruption', 'outside-file'],
    qemu: 'corruptions',
  },
  {
    name: 'an L2 entry off its boundary',
    damage: (p) => p.flip(p.entry(p.activeL2(), 'plain') + 6, 1),
    finds: ['corruption', 'misaligned'],
    qemu: 'corruptions',
  },
  {
    name: 'a payload outside the file',
    damage: (p) => p.flip(p.entry(p.activeL2(), 'packed') + 3, 7),
    finds: ['corruption', 'outside-file'],
    qemu: 'corruptions',
  },
  {
    name: 'reserved bit 56 in an L2 entry',
    damage: (p) => p.flip(p.entry(p.oldL2(), 'plain'), 0),
    finds: ['corruption', 'reserved-bits'],
    qemu: 'corruptions',
  },
  {
    name: 'reserved bit 5 in an L2 entry that leads nowhere',
    damage: (p) => p.flip(p.entry(p.oldL2(), 'unallocated') + 7, 5),
    finds: ['corruption', 'reserved-bits'],
    qemu: 'corruptions',
  },
  {
    name: 'a reserved bit in the active L1 table',
    damage: (p) => p.flip(p.store.header.l1Offset + 7, 2),
    finds: ['corruption', 'reserved-bits'],
    qemu: 'corruptions',
  },
  {
    name: 'an L1 entry off its boundary',
    damage: (p) => p.flip(p.store.header.l1Offset + 6, 1),
    finds: ['corruption', 'misaligned'],
    qemu: 'corruptions',
  },
  {
    name: 'an L1 entry that leads to a refcount block',
    damage: (p) => {
      const { header } = p.store;
      p.setWord(header.l1Offset, p.word(header.refcountTableOffset));
    },
    finds: ['corruption', 'overlap'],
    qemu: 'corruptions',
  },
  {
    name: 'an L2 entry that leads to the snapshot table',
    damage: (p) =>
      p.setWord(p.entry(p.activeL2(), 'plain'), BigInt(p.store.header.snapshotsOffset)),
    finds: ['corruption', 'overlap'],
    qemu: 'corruptions',
  },
  {
    name: 'a payload in the refcount table',
    damage: (p) => {
      const at = p.entry(p.activeL2(), 'packed');
      p.setWord(at, (1n << 62n) | BigInt(p.store.header.refcountTableOffset + 100));
    },
    finds: ['corruption', 'overlap'],
    qemu: 'corruptions',
  },
  {
    name: 'an active L1 table in the place of the snapshot table',
    damage: (p) => p.write(40, p64(p.store.header.snapshotsOffset)),
    finds: ['corruption', 'overlap'],
    qemu: 'corruptions',
  },
  {
    name: 'COPIED in an active L2 table that a snapshot shares',
    damage: (p) => p.flip(p.entry(p.activeL2(), 'plain'), 7),
    finds: ['corruption', 'copied'],
    qemu: 'corruptions',
  },
  {
    name: 'COPIED in the active L1 table',
    damage: (p) => p.flip(p.store.header.l1Offset, 7),
    finds: ['corruption', 'copied'],
    qemu: 'corruptions',
  },
  {
    name: 'COPIED with a payload',
    damage: (p) => p.flip(p.entry(p.oldL2(), 'packed'), 7),
    finds: ['corruption', 'copied'],
    qemu: 'corruptions',
  },
  {
    name: 'COPIED in a table of a snapshot alone',
    damage: (p) => {
      const at = p.entry(p.oldL2(), 'plain');
      p.setWord(at, p.word(at) | COPIED);
    },
    finds: ['note', 'copied'],
    qemu: 'clean',
  },
  {
    name: 'an L1 table of a snapshot off its boundary',
    damage: (p) => p.flip(p.store.header.snapshotsOffset + 6, 1),
    finds: ['corruption', 'misaligned'],
    qemu: 'refuses',
  },
  {
    name: 'an L1 table of a snapshot outside the file',
    damage: (p) => p.flip(p.store.header.snapshotsOffset + 2, 0),
    finds: ['corruption', 'outside-file'],
    qemu: 'corruptions',
  },
  {
    name: 'a file without its last clusters',
    damage: (p) => p.truncate(p.store.file.size() - 2 * p.clusterSize),
    finds: ['corruption', 'outside-file'],
    qemu: 'corruptions',
  },
  {
    name: 'a file without its last sector',
    damage: (p) => p.truncate(p.store.file.size() - 512),
    finds: ['note', 'cut-short'],
    qemu: 'clean',
  },
];

const p64 = (value: number): Buffer => {
  const raw = Buffer.alloc(8);
  raw.writeBigUInt64BE(BigInt(value));
  return raw;
};

const SNAPSHOTS: readonly Damage[] = [
  {
    name: 'a bit of a digest',
    damage: (p) => p.flip(p.digests().table + 5),
    finds: ['corruption', 'digest'],
    qemu: 'clean',
  },
  {
    name: 'a bit of the digests’ index',
    damage: (p) => p.flip(p.digests().index + 5),
    finds: ['corruption', 'digest'],
    qemu: 'clean',
  },
  {
    name: 'digests that are gone',
    damage: (p) => p.write(p.digests().index, Buffer.alloc(p.clusterSize)),
    finds: ['corruption', 'digest'],
    qemu: 'clean',
  },
  {
    name: 'an L2 entry cleared, but not its digest',
    damage: (p) => p.setWord(p.entry(p.oldL2(), 'plain'), 0n),
    finds: ['corruption', 'digest-zero'],
    qemu: 'leaks',
  },
  {
    name: 'an L2 entry that reads as zeros, but not its digest',
    damage: (p) => p.flip(p.entry(p.oldL2(), 'plain') + 7),
    finds: ['corruption', 'digest-zero'],
    qemu: 'clean',
  },
  {
    name: 'an L2 entry where the digest says zeros',
    damage: (p) => {
      const plain = p.entry(p.oldL2(), 'plain');
      p.setWord(p.entry(p.oldL2(), 'unallocated'), p.word(plain));
      p.addRefcount(p.clusterOf(plain), 1);
    },
    finds: ['corruption', 'digest-zero'],
    qemu: 'clean',
  },
  {
    name: 'an active table that shows nothing',
    damage: (p) => p.setWord(p.store.header.l1Offset, 0n),
    finds: ['note', 'active-state'],
    qemu: 'leaks',
  },
  {
    name: 'a record that gives another size',
    damage: (p) => rewriteNewest(p, 1),
    finds: ['corruption', 'record'],
    qemu: 'clean',
  },
  {
    name: 'a record damaged beyond recognition',
    damage: (p) => p.flip(p.store.header.snapshotsOffset + 64),
    finds: ['corruption', 'record'],
    qemu: 'clean',
  },
  {
    name: 'a store marked private that is not',
    damage: (p) => p.flip(72, 2),
    finds: ['corruption', 'feature'],
    qemu: 'refuses',
  },
  {
    name: 'a disk that its L1 table does not cover',
    damage: (p) => p.write(24, p64(2 ** 50)),
    finds: ['corruption', 'disk-size'],
    qemu: 'refuses',
  },
  {
    name: 'a disk smaller than its snapshots',
    damage: (p) => p.write(24, p64(512)),
    finds: ['note', 'disk-size'],
    qemu: 'clean',
  },
];

/** Makes the newest snapshot's record give the image `more` sectors, under a right checksum. */
const rewriteNewest = (p: Patient, more: number): void => {
  const entries = p.store.snapshots.map(({ entry, record }, i, all) => {
    if (!record || i < all.length - 1) return { ...entry, extra: Buffer.from(entry.extra) };
    const forged = { ...record, imageSize: record.imageSize + more * 512 };
    return { ...entry, extra: encodeRecord(forged, entry) };
  });
  p.write(p.store.header.snapshotsOffset, encodeSnapshots('x', entries));
};

const compare = (t: Test, path: string, { finds, qemu }: Damage): void => {
  const report = checkFile(path);
  const [kind, code] = finds;
  const found = report.findings.find((finding) => finding.kind === kind && finding.code === code);
  t.ok(found, `${kind} ${code} is found`, { findings: report.findings });
  const theirs = qemuCheck(path);
  if (qemu === 'refuses') t.not(theirs.status, 0, 'qemu-img does not accept it');
  else if (qemu === 'clean') t.equal(theirs.status, 0, theirs.text);
  else {
    t.ok(theirs[qemu] > 0, `qemu-img counts ${qemu}`, { text: theirs.text });
    t.ok(report[qemu] > 0, `and so do we`);
  }
  if (qemu === 'leaks') t.equal(report.leaks, theirs.leaks, 'the same number of leaks');
};

for (const clusterSize of [4096, 65536]) {
  t.test(`damage to a store of ${clusterSize / 1024}-KiB clusters is found`, async (t) => {
    const store = await makeStore(tempDir(t), { clusterSize, compression: 'zstd' });
    t.test('nothing is found where nothing is wrong', async (t) => {
      const { status, corruptions, leaks } = qemuCheck(store);
      t.same({ status, corruptions, leaks }, { status: 0, corruptions: 0, leaks: 0 });
      const report = checkFile(store);
      t.match(report, { corruptions: 0, leaks: 0, notes: 0, findings: [], snapshots: 3 });
      t.equal(
        Object.values(report.allocated).reduce((sum, count) => sum + count, 0),
        report.allocatedClusters,
        'each cluster has one use',
      );
    });
    for (const damage of [...REFCOUNTS, ...TABLES, ...SNAPSHOTS]) {
      t.test(damage.name, async (t) => compare(t, damaged(store, damage.damage), damage));
    }
  });
}
