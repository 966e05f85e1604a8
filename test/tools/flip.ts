// What time does to a store.

import fs from 'node:fs';
import { decodePacked, kindOf, offsetOf } from '../../qcow2/index.js';
import type { Random } from './files.js';
import { tagged, withTables } from './tables.js';

/** Turns over one bit of what is stored for a cluster of a snapshot. */
export const flipCluster = (path: string, tag: string, cluster: number, random: Random): void => {
  const at = withTables(path, (store) => {
    const { geometry } = store;
    const l1 = store.l1(tagged(store, tag).entry);
    const index = Math.floor(cluster / geometry.l2Entries);
    const l2 = store.l2(offsetOf(l1.hi(index), l1.lo(index)));
    const [hi, lo] = [l2.hi(cluster % geometry.l2Entries), l2.lo(cluster % geometry.l2Entries)];
    if (kindOf(hi, lo) !== 'packed')
      return offsetOf(hi, lo) + random.below(geometry.clusterSize / 2);
    // Past the frame's header, where no bit is without a meaning.
    return decodePacked(hi, lo, geometry.clusterBits).offset + 64 + random.below(1000);
  });
  const fd = fs.openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  fs.readSync(fd, byte, 0, 1, at);
  byte[0] = (byte[0] as number) ^ (1 << random.below(8));
  fs.writeSync(fd, byte, 0, 1, at);
  fs.closeSync(fd);
};
