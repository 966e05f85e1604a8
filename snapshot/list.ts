// list and info: what a store holds, without reading any data.

import { isNilUuid, isPrivate, type Snapshot, type Store } from '../qcow2/index.js';
import { findSnapshot } from './names.js';
import { codecOf, imageSizeOf, withStore } from './store.js';

/** One snapshot. Sizes in bytes. Fields are null where another program made the snapshot. */
export interface SnapshotInfo {
  readonly id: string;
  readonly tag: string;
  readonly uuid: string | null;
  /** Tag of the parent, its uuid when it is gone, null when there was none. */
  readonly parent: string | null;
  /** ISO 8601, UTC. */
  readonly date: string;
  readonly imageBytes: number;
  /** The digest of its digests, in hexadecimal: in one store, it stands for the content. */
  readonly root: string | null;
  readonly storedClusters: number | null;
  readonly storedBytes: number | null;
  readonly dirty: string | null;
  readonly image: string | null;
  readonly tool: string | null;
}

/** The store as a whole. */
/** A reversible stage that a store is written through. */
export interface StoredStage {
  readonly name: string;
  readonly version: string;
  /** Where its code came from. */
  readonly module: string;
}

export interface StoreInfo {
  readonly store: string;
  readonly uuid: string | null;
  readonly madeBy: 'nvsnap' | 'another program';
  readonly fileBytes: number;
  readonly diskBytes: number;
  readonly clusterSize: number;
  readonly compression: string;
  readonly digest: string | null;
  /** The reversible stages that it is written through. */
  readonly stages: readonly StoredStage[];
  /** True when stock QEMU reads the data: it is encoded as qcow2 says. */
  readonly standard: boolean;
  readonly snapshots: readonly SnapshotInfo[];
}

/** The tags by uuid: a store may hold many thousands. */
const tagsOf = (store: Store): ReadonlyMap<string, string> => {
  const tags = new Map<string, string>();
  for (const { entry, record } of store.snapshots) if (record) tags.set(record.uuid, entry.tag);
  return tags;
};

const describe = (
  store: Store,
  tags: ReadonlyMap<string, string>,
  snapshot: Snapshot,
): SnapshotInfo => {
  const { entry, record } = snapshot;
  return {
    id: entry.id,
    tag: entry.tag,
    uuid: record?.uuid ?? null,
    parent: record && !isNilUuid(record.parent) ? (tags.get(record.parent) ?? record.parent) : null,
    date: new Date(entry.seconds * 1000 + Math.floor(entry.nanoseconds / 1e6)).toISOString(),
    imageBytes: imageSizeOf(store, { entry, record }),
    root: record?.root ?? null,
    storedClusters: record?.storedClusters ?? null,
    storedBytes: record?.storedBytes ?? null,
    dirty: record?.dirty ?? null,
    image: record?.image ?? null,
    tool: record?.tool ?? null,
  };
};

/** What a store holds; with `snapshot` (tag, "#id", uuid prefix, "latest") only that one. */
export const info = (options: {
  readonly store: string;
  readonly snapshot?: string | undefined;
}): Promise<StoreInfo> =>
  withStore(options.store, (store) => {
    const { facts, geometry, header } = store;
    const chosen =
      options.snapshot === undefined ? store.snapshots : [findSnapshot(store, options.snapshot)];
    const tags = tagsOf(store);
    return {
      store: options.store,
      uuid: facts?.uuid ?? null,
      madeBy: facts ? 'nvsnap' : 'another program',
      fileBytes: store.file.size(),
      diskBytes: header.diskSize,
      clusterSize: geometry.clusterSize,
      compression: codecOf(store),
      digest: facts?.digest ?? null,
      stages: (facts?.chain ?? []).map(({ name, version, module }) => ({ name, version, module })),
      standard: !facts || !isPrivate(facts),
      snapshots: chosen.map((snapshot) => describe(store, tags, snapshot)),
    };
  });

/** The snapshots of a store, oldest first. */
export const list = async (options: { readonly store: string }): Promise<readonly SnapshotInfo[]> =>
  (await info(options)).snapshots;
