// Stores that say what no run of nvsnap says, under checksums that are right.

import fs from 'node:fs';
import { encodeRecord, type SnapshotRecord } from '../../qcow2/record.js';
import { encodeSnapshots, type SnapshotEntry } from '../../qcow2/snapshots.js';
import { withTables } from '../tools/tables.js';

/** What a snapshot is to say from now on; what is left out stays. */
export interface Forged {
  readonly entry?: Partial<SnapshotEntry>;
  readonly record?: Partial<SnapshotRecord>;
}

/** Writes another snapshot table over the one of a store; it must not become longer than its clusters. */
export const forgeTable = (path: string, forge: (tag: string, index: number) => Forged): void => {
  const [table, offset] = withTables(path, ({ snapshots, header }) => {
    const entries = snapshots.map(({ entry, record }, i) => {
      const forged = forge(entry.tag, i);
      const made = { ...entry, ...forged.entry };
      return record
        ? { ...made, extra: encodeRecord({ ...record, ...forged.record }, made) }
        : made;
    });
    return [encodeSnapshots(path, entries), header.snapshotsOffset] as const;
  });
  const fd = fs.openSync(path, 'r+');
  fs.writeSync(fd, table, 0, table.length, offset);
  fs.closeSync(fd);
};
