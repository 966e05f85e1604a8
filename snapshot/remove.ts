// remove: takes snapshots out of a store. Every snapshot has tables of its own, so its neighbours are
// not touched, whichever it is; what only it referred to becomes free.

import { Fault, ioFault } from '../disk/index.js';
import { type Snapshot, Transaction } from '../qcow2/index.js';
import { checkActive } from './guards.js';
import { findSnapshot } from './names.js';
import { openExisting, type WritableStore } from './store.js';

export interface RemoveOptions {
  readonly store: string;
  /** Tags, "#id"s, uuid prefixes or "latest". */
  readonly snapshots: readonly string[];
  /** Give freed clusters back to the file system at once (default); else later takes use them. */
  readonly punch?: boolean | undefined;
  /** A file that records every write and sync of the store, for tests and audits. */
  readonly ioLog?: string | undefined;
}

/** A snapshot that is gone, or would be. */
export interface RemovedSnapshot {
  readonly id: string;
  readonly tag: string;
  readonly uuid: string | null;
}

/** What a removal gave back. Sizes in bytes. */
export interface Space {
  /** Bytes on disk that the store takes less than before. */
  readonly freedBytes: number;
  readonly storeBytes: number;
  /** Tags of snapshots whose tables were damaged: what they used stays taken, since nobody can tell what it was. */
  readonly leaked: readonly string[];
}

/** What a removal did. Sizes in bytes, times in milliseconds. */
export interface RemoveResult extends Space {
  readonly store: string;
  readonly removed: readonly RemovedSnapshot[];
  /** Snapshots that are left. */
  readonly kept: number;
  readonly elapsedMs: number;
}

export const describeRemoved = ({ entry, record }: Snapshot): RemovedSnapshot => ({
  id: entry.id,
  tag: entry.tag,
  uuid: record?.uuid ?? null,
});

/** Publishes the store without some of its snapshots, and gives their space back. */
export const dropSnapshots = async (
  { store }: WritableStore,
  dropped: ReadonlySet<Snapshot>,
  punch: boolean,
): Promise<Space> => {
  const before = store.file.allocated();
  const transaction = Transaction.begin(store);
  try {
    await transaction.publish(store.snapshots.filter((snapshot) => !dropped.has(snapshot)));
  } catch (error) {
    transaction.abandon();
    throw error instanceof Fault ? error : ioFault(error, store.path, 'write');
  }
  transaction.reclaim(punch);
  return {
    freedBytes: before - store.file.allocated(),
    storeBytes: store.file.size(),
    leaked: transaction.leaked.map(({ entry }) => entry.tag),
  };
};

/** What is to be known of a removal that could not give everything back; undefined when it could. */
export const leakNotice = (leaked: readonly string[]): string | undefined =>
  leaked.length === 0
    ? undefined
    : `The tables of ${leaked.map((tag) => JSON.stringify(tag)).join(', ')} were damaged, so what only they used stays taken; ` +
      'a copy that "nvsnap convert" makes has none of it.';

/** Removes snapshots, all or none. Rejects with a Fault, and then the store is as it was. */
export const remove = async (options: RemoveOptions): Promise<RemoveResult> => {
  const began = performance.now();
  const target = await openExisting(options.store, {}, options.ioLog, true);
  try {
    const { store } = target;
    checkActive(store);
    const dropped = new Set(options.snapshots.map((wanted) => findSnapshot(store, wanted)));
    const space = await dropSnapshots(target, dropped, options.punch ?? true);
    return {
      store: options.store,
      removed: [...dropped].map(describeRemoved),
      kept: store.snapshots.length - dropped.size,
      ...space,
      elapsedMs: Math.round(performance.now() - began),
    };
  } finally {
    target.store.file.close();
  }
};
