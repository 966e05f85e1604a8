// The users' stages of one call, and the reversible ones through which an open store is read and written.

import {
  type DigestAlgorithm,
  type Digester,
  type DigestOptions,
  type File,
  fault,
  openDigester,
} from '../disk/index.js';
import type { Store, StoreFacts } from '../qcow2/index.js';
import {
  type LineUp,
  type LoadedStage,
  lineUp,
  loadStages,
  requestOf,
  type Shared,
  type StageRequest,
} from '../stages/index.js';

/** What a caller asks of stages of its own. */
export interface StageOptions {
  /** Each as use(...) makes them, or as people write them: "./mask.js,pattern=secret". */
  readonly stages?: readonly (string | StageRequest)[] | undefined;
  /** True to lend stages copies only, and to check all that they do: slow, for who writes one. */
  readonly strictStages?: boolean | undefined;
}

/** The stages asked for, loaded and looked at; nothing else has happened yet. */
export interface AskedStages {
  readonly loaded: readonly LoadedStage[];
  readonly strict: boolean;
}

export const NO_STAGES: AskedStages = { loaded: [], strict: false };

/** Loads what a take was asked for. */
export const loadAsked = async ({
  stages = [],
  strictStages,
}: StageOptions): Promise<AskedStages> => ({
  loaded: stages.length === 0 ? [] : await loadStages(stages.map(requestOf)),
  strict: strictStages ?? false,
});

/** Loads what a call was asked for that makes no snapshot of an image: only reversible stages have work there. */
export const loadReversible = async (options: StageOptions): Promise<AskedStages> => {
  const asked = await loadAsked(options);
  const other = asked.loaded.find(({ definition }) => !definition.reversible);
  if (!other) return asked;
  throw fault('usage', {
    problem: `The stage ${other.name} has nothing to do here: it is not reversible.`,
    advice: 'Leave it out; it works in takes.',
  });
};

/** By the file of an open store. */
const lines = new WeakMap<File, LineUp>();

/** What a store is for which stages are lined up: `chain` is undefined for one that is being made. */
export type StoreOfStages = Pick<StoreFacts, 'uuid' | 'codec'> & {
  readonly path: string;
  readonly clusterSize: number;
  readonly chain: StoreFacts['chain'] | undefined;
};

/** Lines up the stages of a call for a store. Rejects with a Fault when they do not fit each other, or it. */
export const lineUpFor = (
  { uuid, ...store }: StoreOfStages,
  { loaded, strict }: AskedStages,
): Promise<LineUp> => lineUp(loaded, { ...store, store: uuid, strict });

/**
 * Opens a store with the stages of a call: what was written through them can be read. Without any, it cannot. `made`: the
 * line with which the store was made just now.
 */
export const openStages = async (
  store: Store,
  asked: AskedStages | undefined,
  made?: LineUp,
): Promise<LineUp> => {
  const { path, geometry, facts } = store;
  const { clusterSize } = geometry;
  const { uuid = '', codec = 'zlib', chain = [] } = facts ?? {};
  const known = { path, clusterSize, uuid, codec };
  if (!asked) return lineUpFor({ ...known, chain: undefined }, NO_STAGES);
  const line = made ?? (await lineUpFor({ ...known, chain }, asked));
  lines.set(store.file, line);
  return line;
};

/** Opens a store that is only read, with what the caller gave. */
export const unlock = async (store: Store, options: StageOptions): Promise<void> => {
  await openStages(store, await loadReversible(options));
};

/** The same for a store of which only digests are wanted: that takes stages only where one of them has their key. */
export const unlockDigests = async (store: Store, options: StageOptions): Promise<void> => {
  const locked = store.facts !== undefined && isKeyed(store.facts);
  if (locked || (options.stages ?? []).length > 0) await unlock(store, options);
};

/** The line of an open store; a Fault when it was written through stages that were not given. */
const lineOf = (store: Store): LineUp | undefined => {
  const line = lines.get(store.file);
  const [link] = store.facts?.chain ?? [];
  if (line || !link) return line;
  const { name, version, module } = link;
  throw fault('stage-missing', { path: store.path, stage: name, version, module });
};

/** The reversible stages of a store, for compress and decode. */
export const linksOf = (store: Store): Shared => {
  const line = lineOf(store);
  return line?.links ? { links: line.links, patience: line.patience, most: line.most } : {};
};

/** True when the key of a store's digests is with one of its stages. */
export const isKeyed = ({ chain }: StoreFacts): boolean => chain.some(({ keyed }) => keyed);

/** How the digests of a store are made that nvsnap made. */
export const digestOptionsOf = (store: Store): DigestOptions => {
  const { facts } = store;
  if (!facts) throw new Error(`${store.path} has no digests`);
  const { digest: algorithm, seed } = facts;
  if (!isKeyed(facts)) return { algorithm, seed };
  const key = lineOf(store)?.digestKey;
  if (!key) throw new Error('the stage that has the key of the digests gave none');
  return { algorithm, seed: key };
};

/** What makes the digests of a store. */
export const digesterOf = (store: Store): Digester => openDigester(digestOptionsOf(store));

/** A secret key is of use only to an algorithm that keeps it. */
export const KEYED_DIGEST: DigestAlgorithm = 'blake3';
