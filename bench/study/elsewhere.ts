// Where the content of changed clusters was before: read from the digests of a store's snapshots, oldest first. It says
// what looking for duplicates in more than the parent's same offset could bring, before anybody builds it.

import { DIGEST_BYTES, openDigester, sameDigest } from '../../disk/index.js';
import { DigestReader, type Snapshot, Store } from '../../qcow2/index.js';

/** Counts of clusters with data that changed since the snapshot before, over all snapshots but the first. */
export interface Elsewhere {
  readonly clusterSize: number;
  readonly changed: number;
  /** Of these, with a content that the parent has, at another offset. */
  readonly inParent: number;
  /** Of the rest, with one that some older snapshot has. */
  readonly inOlder: number;
  /** Of the rest, with one that comes more than once in the same snapshot: all but the first. */
  readonly twice: number;
}

interface Change {
  readonly cluster: number;
  /** '' for zeros. */
  readonly before: string;
  readonly after: string;
}

const ZERO = '\0'.repeat(DIGEST_BYTES);

const digestAt = (digests: Buffer, at: number): string => {
  const text = digests.toString('latin1', at, at + DIGEST_BYTES);
  return text === ZERO ? '' : text;
};

/** Clusters whose digests differ; without `old`, all that have data. The images are of one size. */
function* changes(old: DigestReader | undefined, now: DigestReader): Generator<Change> {
  const { table, perCluster } = now.layout;
  for (let t = 0; t < table; t += 1) {
    if (old && sameDigest(old.index, t * DIGEST_BYTES, now.index, t * DIGEST_BYTES)) continue;
    const [was, is] = [old?.tableCluster(t), now.tableCluster(t)];
    for (let i = 0; i < perCluster; i += 1) {
      const at = i * DIGEST_BYTES;
      const [before, after] = [was ? digestAt(was, at) : '', digestAt(is, at)];
      if (before !== after) yield { cluster: t * perCluster + i, before, after };
    }
  }
}

/** Looks through all snapshots of a store. */
export const lookElsewhere = (path: string): Elsewhere => {
  const store = Store.open(path, 'r');
  try {
    return look(store);
  } finally {
    store.file.close();
  }
};

const readerOf = (store: Store, { entry, record }: Snapshot): DigestReader => {
  if (!store.facts || !record) throw new Error(`${store.path} holds a snapshot without digests`);
  return new DigestReader(
    store,
    { entry, record },
    openDigester({ algorithm: store.facts.digest, seed: store.facts.seed }),
  );
};

const look = (store: Store): Elsewhere => {
  const counts = { changed: 0, inParent: 0, inOlder: 0, twice: 0 };
  /** How many clusters of the snapshot at hand have each content, and what any has had so far. */
  const current = new Map<string, number>();
  const ever = new Set<string>();
  let old: DigestReader | undefined;
  for (const snapshot of store.snapshots) {
    const now = readerOf(store, snapshot);
    const found = [...changes(old, now)];
    const fresh = new Set<string>();
    for (const { after } of old ? found : []) {
      if (after === '') continue;
      counts.changed += 1;
      if (current.has(after)) counts.inParent += 1;
      else if (ever.has(after)) counts.inOlder += 1;
      else if (fresh.has(after)) counts.twice += 1;
      else fresh.add(after);
    }
    for (const { before, after } of found) {
      const left = (current.get(before) ?? 0) - 1;
      if (left > 0) current.set(before, left);
      else current.delete(before);
      if (after !== '') {
        current.set(after, (current.get(after) ?? 0) + 1);
        ever.add(after);
      }
    }
    old = now;
  }
  return { clusterSize: store.geometry.clusterSize, ...counts };
};
