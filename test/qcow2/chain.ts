// A small store of some snapshots that depend on each other, to be damaged.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { offsetOf } from '../../qcow2/index.js';
import { take } from '../../snapshot/index.js';
import { patch, randomBytes, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { tagged, withTables } from '../tools/tables.js';

export const CLUSTER = 4096;
export const CLUSTERS = 200;

/**
 * A store of snapshots with these tags, and an image that has changed since: two clusters from cluster 10 on after the
 * first snapshot, from 20 on after the second, and so on. No cluster can be packed.
 */
export const makeChain = async (t: Test, tags: readonly string[]) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const judge = new Judge(folder, store);
  fs.writeFileSync(image, randomBytes(CLUSTERS * CLUSTER, 31));
  for (const [i, tag] of tags.entries()) {
    judge.remember(image, tag);
    await take({ image, store, tag, clusterSize: CLUSTER, threads: 1 });
    patch(image, randomBytes(2 * CLUSTER, 32 + i), (10 + 10 * i) * CLUSTER);
  }
  return { image, store, judge };
};

/** Host byte offset of the entry of a guest cluster of a snapshot. */
const entryAt = (path: string, tag: string, cluster: number): number =>
  withTables(path, (store) => {
    const l1 = store.l1(tagged(store, tag).entry);
    return offsetOf(l1.hi(0), l1.lo(0)) + 8 * cluster;
  });

/** Makes an entry of one snapshot lead where another's does, as a few flipped bits might. */
export const misdirect = (
  path: string,
  [tag, cluster]: [string, number],
  to: [string, number],
): void => {
  const from = entryAt(path, ...to);
  const entry = fs.readFileSync(path).subarray(from, from + 8);
  patch(path, entry, entryAt(path, tag, cluster));
};
