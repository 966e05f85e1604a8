// What a store's tables say, read apart from the code that writes them: which entry each cluster of a
// snapshot has, and what the refcounts on disk are.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { hostOffset } from '../../disk/index.js';
import { kindOf, type Snapshot, Store } from '../../qcow2/index.js';

/** Opens a store for reading, and closes it. */
export const withTables = <T>(path: string, use: (store: Store) => T): T => {
  const store = Store.open(path, 'r');
  try {
    return use(store);
  } finally {
    store.file.close();
  }
};

/** The snapshot with a tag. */
export const tagged = (store: Store, tag: string): Snapshot => {
  const found = store.snapshots.find(({ entry }) => entry.tag === tag);
  if (!found) throw new Error(`no snapshot ${tag}`);
  return found;
};

/**
 * The L2 entry of each cluster of a snapshot's image, in hexadecimal; '' where the cluster has no
 * data. Equal entries mean the same bytes in the same place.
 */
export const dataEntries = (store: Store, { entry, record }: Snapshot): string[] => {
  const { geometry } = store;
  const clusters = geometry.clusters(record?.imageSize ?? entry.diskSize ?? 0);
  const l1 = store.l1(entry);
  const entries: string[] = [];
  for (let first = 0; first < clusters; first += geometry.l2Entries) {
    const index = first / geometry.l2Entries;
    const count = Math.min(geometry.l2Entries, clusters - first);
    if (index >= l1.length || l1.isClear(index)) {
      entries.push(...new Array<string>(count).fill(''));
      continue;
    }
    const l2 = store.l2(hostOffset(l1.hi(index) * 2 ** 32 + l1.lo(index)));
    for (let i = 0; i < count; i += 1) {
      const [hi, lo] = [l2.hi(i), l2.lo(i)];
      const kind = kindOf(hi, lo);
      const data = kind === 'plain' || kind === 'packed';
      entries.push(data ? `${hi.toString(16)}:${lo.toString(16)}` : '');
    }
  }
  return entries;
};

/** The clusters of `child` whose data is not the parent's. */
export const ownClusters = (path: string, parent: string, child: string): number[] =>
  withTables(path, (store) => {
    const theirs = new Set(dataEntries(store, tagged(store, parent)));
    return dataEntries(store, tagged(store, child)).flatMap((entry, i) =>
      entry !== '' && !theirs.has(entry) ? [i] : [],
    );
  });

/** How many clusters of a snapshot have data. */
export const dataClusters = (path: string, tag: string): number =>
  withTables(path, (store) => dataEntries(store, tagged(store, tag)).filter(Boolean).length);

/** The refcounts on disk, one per host cluster, and the cluster size; 32-bit refcounts only. */
export interface DiskRefcounts {
  readonly clusterSize: number;
  /** 0 for a cluster that nothing refers to, and past the end. */
  count(cluster: number): number;
  /** Clusters in use. */
  readonly used: number;
}

/** Reads the refcounts straight from the file (specification, "Refcounts"), without our reader. */
export const readRefcounts = (path: string): DiskRefcounts => {
  const raw = fs.readFileSync(path);
  const clusterSize = 2 ** raw.readUInt32BE(20);
  const table = Number(raw.readBigUInt64BE(48));
  const blocks = (raw.readUInt32BE(56) * clusterSize) / 8;
  if (raw.readUInt32BE(96) !== 5) throw new Error('refcounts are not 32 bits wide');
  const perBlock = clusterSize / 4;
  const counts = new Map<number, number>();
  for (let b = 0; b < blocks; b += 1) {
    const offset = Number(raw.readBigUInt64BE(table + b * 8));
    if (offset === 0) continue;
    for (let i = 0; i < perBlock; i += 1) {
      const count = raw.readUInt32BE(offset + i * 4);
      if (count !== 0) counts.set(b * perBlock + i, count);
    }
  }
  return { clusterSize, used: counts.size, count: (cluster) => counts.get(cluster) ?? 0 };
};

/** SHA-256 of all clusters that a store of ours counts as used: what is published, whatever lies in the others. */
export const publishedDigest = (path: string): string =>
  withTables(path, ({ header, geometry }) => {
    const { clusterSize } = geometry;
    const raw = fs.readFileSync(path);
    const hash = createHash('sha256');
    const { refcountTableOffset: start, refcountTableClusters: clusters } = header;
    for (let at = start; at < start + clusters * clusterSize; at += 8) {
      const block = Number(raw.readBigUInt64BE(at));
      if (block === 0) continue;
      const first = ((at - start) / 8) * (clusterSize / 4);
      for (let i = 0; i < clusterSize / 4; i += 1) {
        if (raw.readUInt32BE(block + 4 * i) === 0) continue;
        const cluster = (first + i) * clusterSize;
        hash.update(`${first + i} `).update(raw.subarray(cluster, cluster + clusterSize));
      }
    }
    return hash.digest('hex');
  });
