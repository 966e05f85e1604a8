// Opening a store for one verb, and closing it whatever happens.

import fs from 'node:fs';
import {
  type DigestAlgorithm,
  fault,
  formatSize,
  lockWriter,
  parseDigestAlgorithm,
} from '../disk/index.js';
import {
  type CodecName,
  createStore,
  DigestReader,
  INCOMPATIBLE,
  isCodecName,
  MAX_CLUSTER_BITS,
  MIN_NEW_CLUSTER_BITS,
  type OwnSnapshot,
  type Snapshot,
  Store,
  type StoreFacts,
} from '../qcow2/index.js';
import type { LineUp } from '../stages/index.js';
import {
  type AskedStages,
  digesterOf,
  KEYED_DIGEST,
  lineUpFor,
  NO_STAGES,
  openStages,
} from './plugged.js';

export const DEFAULT_CLUSTER_SIZE = 65536;
export const DEFAULT_CODEC: CodecName = 'zstd';
export const DEFAULT_DIGEST: DigestAlgorithm = 'xxh3-128';
export const SEED_BYTES = 8;

/** What a caller asks of a store; what is left out is the store's own, or the default for a new one. */
export interface StoreSettings {
  /** Bytes: a power of 2 from 4 KiB to 2 MiB. */
  readonly clusterSize?: number | undefined;
  readonly compression?: CodecName | undefined;
  readonly digest?: DigestAlgorithm | undefined;
  /** Permissions of a new store, before the umask; left out: those of any new file. */
  readonly mode?: number | undefined;
  /** The caller's stages; left out by those who read and write no clusters. */
  readonly plug?: AskedStages | undefined;
}

const clusterBitsOf = (size: number): number => {
  const bits = Math.log2(size);
  if (Number.isInteger(bits) && bits >= MIN_NEW_CLUSTER_BITS && bits <= MAX_CLUSTER_BITS)
    return bits;
  throw fault('usage', {
    problem: `A cluster size of ${size} bytes is not possible.`,
    advice: 'Choose a power of 2 from 4K to 2M.',
  });
};

/** Refuses settings that no store can have: callers of the library may not be typed. */
export const checkAsked = ({ clusterSize, compression, digest }: StoreSettings): void => {
  if (clusterSize !== undefined) clusterBitsOf(clusterSize);
  if (digest !== undefined) parseDigestAlgorithm(digest);
  if (compression === undefined || isCodecName(compression)) return;
  throw fault('usage', {
    problem: `The compression ${JSON.stringify(compression)} is not known.`,
    advice: 'Choose zstd, zlib, lz4 or none.',
  });
};

/** Refuses settings that an existing store does not have. */
const checkSettings = (store: Store, facts: StoreFacts, asked: StoreSettings): void => {
  const differs = (setting: string, has: string, wanted: string): void => {
    if (has !== wanted)
      throw fault('store-settings', { path: store.path, setting, has, asked: wanted });
  };
  if (asked.clusterSize !== undefined) {
    differs('cluster size', formatSize(store.geometry.clusterSize), formatSize(asked.clusterSize));
  }
  if (asked.compression) differs('compression', facts.codec, asked.compression);
  if (asked.digest) differs('digest', facts.digest, asked.digest);
};

/** A store open for writing. `facts` is there: nvsnap made it. */
export interface WritableStore {
  readonly store: Store;
  readonly facts: StoreFacts;
  /** True when this call made it. */
  readonly created: boolean;
  /** The caller's stages in their places. */
  readonly line: LineUp;
}

/** Makes the facts that a file of another program gets; throws when it cannot have any. */
export type Adoption = (store: Store, asked: StoreSettings) => Promise<StoreFacts>;

/**
 * Opens a store for writing as its only writer, or makes it with checked settings. `log` records all I/O (for tests);
 * with `adopt`, a file that another program made becomes a store with the next commit.
 */
export const openWritable = async (
  path: string,
  asked: StoreSettings,
  log?: string,
  adopt?: Adoption,
): Promise<WritableStore> => {
  if (fs.existsSync(path)) {
    return openExisting(path, asked, log, false, adopt && (await adoptionFor(path, asked, adopt)));
  }
  const { store, line } = await makeStore(path, asked, log);
  return { ...(await lockStore(store, asked, { line })), created: true };
};

/** Opens a store that must exist for writing, as its only writer; `alone`: and while QEMU does not read it. */
export const openExisting = async (
  path: string,
  asked: StoreSettings,
  log?: string,
  alone = false,
  adoption?: StoreFacts,
): Promise<WritableStore> => {
  const store = Store.open(path, 'r+', log);
  return { ...(await lockStore(store, asked, { alone, adoption })), created: false };
};

/** How a store is locked. */
interface Locking {
  /** Only while QEMU does not read it. */
  readonly alone?: boolean;
  /** What a file of another program is to become. */
  readonly adoption?: StoreFacts | undefined;
  /** The caller's stages, where they are in their places already: their options are parsed once. */
  readonly line?: LineUp;
}

const lockStore = async (
  first: Store,
  asked: StoreSettings,
  { alone = false, adoption, line }: Locking,
): Promise<Omit<WritableStore, 'created'>> => {
  try {
    lockWriter(first.path, first.file.spec.fd, alone);
    // The tables may have changed between opening and locking; from here on they cannot.
    const store = Store.attach(first.file, undefined, adoption);
    const facts = writableFacts(store, asked);
    return { store, facts, line: await openStages(store, asked.plug, line) };
  } catch (error) {
    first.file.close();
    throw error;
  }
};

const writableFacts = (store: Store, asked: StoreSettings): StoreFacts => {
  const { path, facts, header } = store;
  if ((header.incompatible & INCOMPATIBLE.corrupt) !== 0n)
    throw fault('store-corrupt-flag', { path });
  if ((header.incompatible & INCOMPATIBLE.dirty) !== 0n) throw fault('store-dirty-flag', { path });
  if (!facts) throw fault('store-foreign', { path });
  checkSettings(store, facts, asked);
  return facts;
};

/** The facts for a file that another program made; undefined when it is a store already, or no such file. */
const adoptionFor = (
  path: string,
  asked: StoreSettings,
  adopt: Adoption,
): Promise<StoreFacts | undefined> | undefined => {
  if (!fs.statSync(path).isFile()) return undefined;
  const store = Store.open(path, 'r');
  try {
    return store.facts ? undefined : adopt(store, asked);
  } finally {
    store.file.close();
  }
};

const makeStore = async (
  path: string,
  settings: StoreSettings,
  log?: string,
): Promise<{ readonly store: Store; readonly line: LineUp }> => {
  const { randomBytes, randomUUID } = await import('node:crypto');
  const { clusterSize = DEFAULT_CLUSTER_SIZE, compression: codec = DEFAULT_CODEC } = settings;
  const clusterBits = clusterBitsOf(clusterSize);
  const uuid = randomUUID();
  const store = { path, clusterSize, uuid, codec, chain: undefined };
  const line = await lineUpFor(store, settings.plug ?? NO_STAGES);
  const { chain, digestKey } = line;
  const { digest = digestKey ? KEYED_DIGEST : DEFAULT_DIGEST } = settings;
  if (digestKey && digest !== KEYED_DIGEST) {
    throw fault('usage', {
      problem: `The digest ${digest} does not keep the key that a stage gives it.`,
      advice: `Leave out --digest, or choose ${KEYED_DIGEST}.`,
    });
  }
  const facts = { uuid, digest, seed: randomBytes(SEED_BYTES), codec, chain };
  return { store: await createStore(path, clusterBits, facts, { log, mode: settings.mode }), line };
};

/** Opens a store for reading and closes it after `use`, which must not keep it. */
export const withStore = async <T>(
  path: string,
  use: (store: Store) => T | Promise<T>,
  inspect?: (store: Store) => void,
): Promise<T> => {
  const store = Store.open(path, 'r', undefined, inspect);
  try {
    return await use(store);
  } finally {
    store.file.close();
  }
};

/** A snapshot as one of ours, if nvsnap made it. */
export const asOwn = (snapshot: Snapshot): OwnSnapshot | undefined =>
  snapshot.record ? { entry: snapshot.entry, record: snapshot.record } : undefined;

/** A snapshot's digests, checked; undefined when another program made it. */
export const digestsOf = (store: Store, snapshot: Snapshot): DigestReader | undefined => {
  const own = asOwn(snapshot);
  if (!own || !store.facts) return undefined;
  return new DigestReader(store, own, digesterOf(store));
};

/** Size of a snapshot's image in bytes: exact for ours, the virtual disk's for others. */
export const imageSizeOf = (store: Store, { entry, record }: Snapshot): number =>
  record?.imageSize ?? entry.diskSize ?? store.header.diskSize;

/** The codec that compressed clusters are written with. */
export const codecOf = (store: Store): CodecName =>
  store.facts?.codec ?? (store.header.compressionType === 1 ? 'zstd' : 'zlib');

/** The codec to read compressed clusters with: a store of plain clusters may have got some from QEMU. */
export const decoderOf = (store: Store): Exclude<CodecName, 'none'> => {
  const codec = codecOf(store);
  return codec === 'none' ? 'zlib' : codec;
};
