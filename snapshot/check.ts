// check: the structure of a whole store, without reading any data.

import { setImmediate } from 'node:timers/promises';
import { fault } from '../disk/index.js';
import { type CheckReport, checkSteps, type Store } from '../qcow2/index.js';
import { digestOptionsOf, isKeyed, type StageOptions, unlockDigests } from './plugged.js';
import { withStore } from './store.js';

export interface CheckOptions extends StageOptions {
  readonly store: string;
  readonly signal?: AbortSignal | undefined;
}

/** What a check found. The store is sound when there are neither corruptions nor leaks. */
export interface CheckResult extends CheckReport {
  readonly store: string;
}

/** How long a check works before it lets timers and signals through. */
const SLICE_MS = 20;
/** How often a check begins anew because a writer has published meanwhile. */
const TRIES = 5;
const HEADER_SECTOR_BYTES = 512;

const headerSector = ({ file }: Store): Buffer => {
  const raw = Buffer.alloc(HEADER_SECTOR_BYTES);
  return raw.subarray(0, file.read(raw, 0));
};

/** What the digests were made with; undefined when that is a secret that was not given. */
const digestSeedOf = async (
  store: Store,
  options: StageOptions,
): Promise<Uint8Array | undefined> => {
  const locked = store.facts !== undefined && isKeyed(store.facts);
  if (locked && (options.stages ?? []).length === 0) return undefined;
  await unlockDigests(store, options);
  return store.facts && digestOptionsOf(store).seed;
};

const inSlices = async (
  store: Store,
  seed: Uint8Array | undefined,
  signal: AbortSignal | undefined,
): Promise<CheckReport> => {
  const steps = checkSteps(store, seed);
  let since = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() - since < SLICE_MS) continue;
    await setImmediate();
    signal?.throwIfAborted();
    since = performance.now();
  }
};

/** One check; undefined when what was read may be of two generations. */
const attempt = async (options: CheckOptions): Promise<CheckResult | undefined> => {
  const { store: path, signal } = options;
  let before: Uint8Array = new Uint8Array(0);
  return withStore(
    path,
    async (store) => {
      const seed = await digestSeedOf(store, options);
      const report = await inSlices(store, seed, signal);
      return headerSector(store).equals(before) ? { store: path, ...report } : undefined;
    },
    (store) => {
      before = headerSector(store);
    },
  );
};

/**
 * Checks a store's structure: refcounts, overlaps, reserved bits, COPIED, sizes and digests. Damage
 * is in the result. Rejects with a Fault when the store cannot be opened at all: it is missing, not
 * a qcow2 file, uses what nvsnap does not support, or its header or snapshot table is unreadable.
 */
export const check = async (options: CheckOptions): Promise<CheckResult> => {
  options.signal?.throwIfAborted();
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const result = await attempt(options);
    if (result) return result;
  }
  throw fault('store-locked', { path: options.store, holder: 'another process, again and again' });
};
