// prune: removes all snapshots that a policy does not keep, in one change.

import { fault } from '../disk/index.js';
import type { Snapshot } from '../qcow2/index.js';
import { checkActive } from './guards.js';
import { applyPolicy, KEEP_RULES, type KeepPolicy, type KeepRule } from './policy.js';
import { describeRemoved, dropSnapshots, type RemovedSnapshot, type Space } from './remove.js';
import { openExisting } from './store.js';

export interface PruneOptions {
  readonly store: string;
  readonly keep: KeepPolicy;
  /** Only say what would be removed. */
  readonly dryRun?: boolean | undefined;
  /** Give freed clusters back to the file system at once (default); else later takes use them. */
  readonly punch?: boolean | undefined;
  /** A file that records every write and sync of the store, for tests and audits. */
  readonly ioLog?: string | undefined;
}

/** A snapshot that stays, and the rules that keep it. */
export interface KeptSnapshot extends RemovedSnapshot {
  readonly date: string;
  readonly rules: readonly KeepRule[];
}

/** What a prune did, or would do; a dry run gives nothing back. Sizes in bytes, times in milliseconds. */
export interface PruneResult extends Space {
  readonly store: string;
  readonly dryRun: boolean;
  /** Newest first, both. */
  readonly kept: readonly KeptSnapshot[];
  readonly removed: readonly RemovedSnapshot[];
  readonly elapsedMs: number;
}

const dateOf = ({ entry }: Snapshot): Date =>
  new Date(entry.seconds * 1000 + Math.floor(entry.nanoseconds / 1e6));

/** Refuses a policy that keeps nothing: nobody means it. */
const checkPolicy = (keep: KeepPolicy): void => {
  const counts = KEEP_RULES.map((rule) => keep[rule] ?? 0);
  const wrong = counts.find((count) => !Number.isSafeInteger(count) || count < 0);
  if (wrong !== undefined) {
    throw fault('usage', {
      problem: `${wrong} is not a number of snapshots to keep.`,
      advice: 'Give a whole number.',
    });
  }
  if (counts.some((count) => count > 0)) return;
  throw fault('usage', {
    problem: 'No rule says which snapshots to keep, so all would be removed.',
    advice: 'Give one, as in --keep-last 5; to remove named snapshots there is "nvsnap remove".',
  });
};

/** Removes what the policy does not keep, all or nothing. Rejects with a Fault; the store is then as it was. */
export const prune = async (options: PruneOptions): Promise<PruneResult> => {
  const began = performance.now();
  checkPolicy(options.keep);
  const target = await openExisting(options.store, {}, options.ioLog, !options.dryRun);
  try {
    const { store } = target;
    checkActive(store);
    // Newest first; of two with one date the later taken is the newer.
    const newest = store.snapshots.toReversed().sort((a, b) => +dateOf(b) - +dateOf(a));
    const rules = applyPolicy(options.keep, newest.map(dateOf));
    const kept = newest.flatMap((snapshot, i) => {
      const by = rules[i] ?? [];
      const date = dateOf(snapshot).toISOString();
      return by.length > 0 ? [{ ...describeRemoved(snapshot), date, rules: by }] : [];
    });
    const dropped = newest.filter((_, i) => rules[i]?.length === 0);
    const idle = options.dryRun === true || dropped.length === 0;
    const space = idle
      ? { freedBytes: 0, storeBytes: store.file.size(), leaked: [] }
      : await dropSnapshots(target, new Set(dropped), options.punch ?? true);
    return {
      store: options.store,
      dryRun: options.dryRun ?? false,
      kept,
      removed: dropped.map(describeRemoved),
      ...space,
      elapsedMs: Math.round(performance.now() - began),
    };
  } finally {
    target.store.file.close();
  }
};
