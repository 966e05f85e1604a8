// The same small change over and over, counted: how a store grows with what changes.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type CodecName, take } from '../../snapshot/index.js';
import { patch, Random } from './files.js';
import { withTables } from './tables.js';

export interface Workload {
  readonly takes: number;
  /** Clusters that change between two takes. */
  readonly changed: number;
  readonly clusterSize: number;
  readonly compression: CodecName;
  readonly imageBytes: number;
}

/** What the takes did, in order; entry 0 is the first, complete one. */
export interface Growth {
  readonly store: string;
  readonly storeBytes: readonly number[];
  readonly metadataBytes: readonly number[];
  readonly storedClusters: readonly number[];
  /** Bytes of the snapshot table at the end. */
  readonly snapshotTableBytes: number;
}

/** Bytes written into each changed cluster: enough to make it another, as one guest store would. */
const CHANGE_BYTES = 64;

/** Takes an image of noise, and then again and again with a few scattered clusters changed. */
export const takeRepeatedly = async (folder: string, workload: Workload): Promise<Growth> => {
  const { takes, changed, clusterSize, compression, imageBytes } = workload;
  const home = fs.mkdtempSync(join(folder, 'workload-'));
  const [image, store] = [join(home, 'image'), join(home, 'store.qcow2')];
  const random = new Random(changed);
  fs.writeFileSync(image, random.bytes(imageBytes));
  const results = [];
  for (let i = 0; i < takes; i += 1) {
    const clusters = i === 0 ? [] : random.pick(changed, imageBytes / clusterSize);
    for (const cluster of clusters) {
      const at = cluster * clusterSize + random.below(clusterSize - CHANGE_BYTES);
      patch(image, random.bytes(CHANGE_BYTES), at);
    }
    const options = { image, store, tag: `take-${i}`, compression, clusterSize, threads: 1 };
    results.push(await take(options));
  }
  return {
    store,
    storeBytes: results.map(({ storeBytes }) => storeBytes),
    metadataBytes: results.map(({ metadataBytes }) => metadataBytes),
    storedClusters: results.map(({ storedClusters }) => storedClusters),
    snapshotTableBytes: withTables(store, ({ snapshotTableBytes }) => snapshotTableBytes),
  };
};

/**
 * Asserts that the second half of the takes made the file grow as the first half did. In each half,
 * with h takes of k changed clusters,
 *
 *     growth = h · (k clusters of data + the L1, L2 and digest clusters of one snapshot)
 *            + h · record · 2          the snapshot table, of which two generations exist at a time
 *            + growth · 4 / cluster · 2        32-bit refcounts, two generations likewise
 *
 * and no term depends on how many snapshots there are already. What is left to tolerate is where the
 * snapshot table's old places lie, at most the table itself twice, and 1 % for tables that a random
 * choice of clusters touches or spares.
 */
export const assertLinear = (t: Test, growth: Growth, workload: Workload): void => {
  const { storeBytes, storedClusters, snapshotTableBytes } = growth;
  const half = (workload.takes - 1) / 2;
  const [first = 0, middle = 0, last = 0] = [0, half, 2 * half].map((i) => storeBytes[i]);
  const [early, late] = [middle - first, last - middle];
  const tolerance = 2 * snapshotTableBytes + 0.01 * early + 2 * workload.clusterSize;
  t.ok(
    storedClusters.slice(1).every((count) => count === workload.changed),
    'every take stores what changed',
  );
  t.ok(Math.abs(late - early) <= tolerance, 'both halves grow alike', { early, late, tolerance });
};
