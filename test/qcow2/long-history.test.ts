// A store with many snapshots: the whole table is read, records are looked at when they are asked for, and one that was
// forged is named and keeps nobody from the others.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { encodeRecord, type SnapshotRecord } from '../../qcow2/record.js';
import { encodeSnapshots, type SnapshotEntry } from '../../qcow2/snapshots.js';
import { Store } from '../../qcow2/store.js';
import { check, type Fault, list, restore, take } from '../../snapshot/index.js';
import { tempDir } from '../tools/files.js';
import { withTables } from '../tools/tables.js';
import { damaged, makeStore, type Patient } from './patient.js';

const RECIPE = { clusterSize: 4096, compression: 'zstd' } as const;
const COUNT = 300;
const FORGED = 150;

const folder = tempDir(t);
const original = await makeStore(folder, RECIPE);

/** The newest snapshot once more, under another name; records are long, and no two have the same texts. */
const another = (entry: SnapshotEntry, record: SnapshotRecord, i: number): SnapshotEntry => {
  const again = { ...entry, id: String(i + 1), tag: `${i}-${'long'.repeat(60)}` };
  const image = `/${'é'.repeat(i % 250)}/${i}`;
  const uuid = `${String(i).padStart(8, '0')}${record.uuid.slice(8)}`;
  return { ...again, extra: encodeRecord({ ...record, uuid, image }, again) };
};

/** Writes a table of `entries` behind everything else, and says that it has `count`. */
const enterTable = (patient: Patient, entries: readonly SnapshotEntry[], count: number): void => {
  const { file, header } = patient.store;
  const table = encodeSnapshots('x', entries);
  const offset = Math.ceil(file.size() / patient.clusterSize) * patient.clusterSize;
  patient.write(offset, table);
  const fields = Buffer.alloc(12);
  fields.writeUInt32BE(count);
  fields.writeBigUInt64BE(BigInt(offset), 4);
  patient.write(60, fields);
  t.equal(header.snapshotCount, 3, 'in place of that of three');
};

/** A store with so many snapshots, of which one has a byte turned over in its record. */
const withHistory = (count: number, forged?: number): string =>
  damaged(original, (patient) => {
    const newest = patient.store.snapshots.at(-1);
    if (!newest?.record) throw new Error('no record');
    const { entry, record } = newest;
    const entries = Array.from({ length: COUNT }, (_, i) => another(entry, record, i));
    const extra = entries[forged ?? -1]?.extra;
    if (extra) extra[50] = (extra[50] as number) ^ 1;
    enterTable(patient, entries, count);
  });

t.test('every snapshot is there, whatever its entry takes', async (t) => {
  const path = withHistory(COUNT);
  withTables(path, ({ snapshots, snapshotTableBytes }) => {
    t.ok(snapshotTableBytes > COUNT * 600, 'more than is read ahead', { snapshotTableBytes });
    t.same(
      snapshots.map(
        ({ entry, record }) => `${entry.id} ${record?.image} ${record?.uuid.slice(0, 8)}`,
      ),
      Array.from(
        { length: COUNT },
        (_, i) => `${i + 1} /${'é'.repeat(i % 250)}/${i} ${String(i).padStart(8, '0')}`,
      ),
    );
  });
  const listed = await list({ store: path });
  t.equal(listed.length, COUNT);
  t.notOk(listed.some(({ uuid }) => uuid === null));
});

t.test('a forged record is named by whoever looks at it, and by a check', async (t) => {
  const path = withHistory(COUNT, FORGED);
  const named = /record of snapshot "150-long.*does not match its checksum/;
  withTables(path, ({ snapshots }) => {
    t.equal(snapshots[FORGED]?.record, undefined);
    t.match(snapshots[FORGED]?.damage?.().message, named);
    t.equal(snapshots.filter(({ record, damage }) => record && !damage).length, COUNT - 1);
  });
  const listed = await list({ store: path });
  t.same(
    [listed[FORGED]?.uuid, listed[FORGED]?.tag.slice(0, 5)],
    [null, '150-l'],
    'listed as it is',
  );
  const output = join(folder, 'output');
  const code = (snapshot: string): Promise<string> =>
    restore({ store: path, snapshot, output, force: true }).then(
      () => 'restored',
      (fault: Fault) => fault.code,
    );
  t.equal(await code(`#${FORGED + 1}`), 'store-damaged');
  t.equal(await code('latest'), 'restored');
  const { findings } = await check({ store: path });
  const records = findings.filter((finding) => finding.code === 'record');
  t.equal(records.length, 1);
  t.match(records[0]?.message, named);
});

t.test('a table that ends before its last entry is refused', async (t) => {
  const path = withHistory(COUNT + 1);
  t.throws(() => Store.open(path, 'r'), { code: 'store-damaged' });
});

t.test('a take leaves a record that was forged as it is', async (t) => {
  const path = damaged(original, (patient) => {
    const { snapshotsOffset } = patient.store.header;
    patient.flip(snapshotsOffset + 64 + 50);
  });
  const first = (): SnapshotEntry | undefined =>
    withTables(path, ({ snapshots }) => snapshots[0]?.entry);
  const before = first();
  const image = join(folder, 'image');
  fs.writeFileSync(
    image,
    Buffer.alloc(100 * RECIPE.clusterSize, 'larger, so that digests may have to move'),
  );
  await take({ image, store: path, tag: 'fourth', otherImage: true });
  t.same(first(), before);
  withTables(path, ({ snapshots }) => {
    t.match(snapshots[0]?.damage?.().message, /does not match its checksum/);
    t.equal(snapshots.length, 4);
  });
});
