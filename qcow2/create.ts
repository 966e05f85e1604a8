// Makes an empty store: a valid qcow2 file without snapshots, which appears under its name whole or
// not at all.

import fs from 'node:fs';
import { dirname } from 'node:path';
import {
  ANY_MODE,
  attachFile,
  errnoOf,
  type Fault,
  type File,
  fault,
  giveName,
  ioFault,
  moveToFree,
  openNameless,
  reasonOf,
  syncFolder,
} from '../disk/index.js';
import {
  encodeExtensions,
  encodeFacts,
  FEATURE_NAME_BYTES,
  featureNames,
  isPrivate,
  type StoreFacts,
} from './extensions.js';
import { encodeHeader, HEADER_BYTES, INCOMPATIBLE } from './header.js';
import { REFCOUNT_ORDER } from './refcounts.js';
import { Store } from './store.js';
import { Table } from './table.js';
import { highOf, lowOf } from './words.js';

const PRIVATE_BIT = 58;

/** What QEMU says about a store that it cannot read; at most 46 bytes. */
const privateName = ({ codec, chain }: StoreFacts): string => {
  const [link] = chain;
  if (!link) return `nvsnap ${codec} clusters: use nvsnap restore`;
  const named = `nvsnap stage ${link.name}: use nvsnap restore`;
  return named.length <= FEATURE_NAME_BYTES ? named : 'nvsnap stages: use nvsnap restore';
};

/** The file of an empty store: header, refcount table, one refcount block, an empty L1 table. */
const emptyImage = (clusterBits: number, facts: StoreFacts): Buffer => {
  const size = 2 ** clusterBits;
  const own = isPrivate(facts);
  const zstd = facts.codec === 'zstd';
  const header = encodeHeader({
    version: 3,
    clusterBits,
    diskSize: 0,
    l1Entries: 1,
    l1Offset: 3 * size,
    refcountTableOffset: size,
    refcountTableClusters: 1,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible:
      (zstd ? INCOMPATIBLE.compressionType : 0n) | (own ? INCOMPATIBLE.privateCodec : 0n),
    compatible: 0n,
    autoclear: 0n,
    refcountOrder: REFCOUNT_ORDER,
    headerLength: HEADER_BYTES,
    compressionType: zstd ? 1 : 0,
  });
  const names = own ? [featureNames(new Map([[PRIVATE_BIT, privateName(facts)]]))] : [];
  const image = Buffer.alloc(4 * size);
  image.set(header);
  image.set(encodeExtensions([encodeFacts(facts), ...names]), HEADER_BYTES);
  const refcountTable = Table.empty(1);
  refcountTable.set(0, highOf(2 * size), lowOf(2 * size));
  image.set(refcountTable.encode(), size);
  for (let cluster = 0; cluster < 4; cluster += 1) image.writeUInt32BE(1, 2 * size + 4 * cluster);
  return image;
};

const fill = async (file: File, image: Buffer): Promise<void> => {
  file.write(image, 0);
  await file.sync();
};

/** Writes a file that has no name until it is durable. False where the file system cannot. */
const writeNameless = async (path: string, image: Buffer, mode: number): Promise<boolean> => {
  const fd = openNameless(dirname(path), mode);
  if (fd === undefined) return false;
  const file = attachFile({ path, fd });
  try {
    await fill(file, image);
    return giveName(fd, path);
  } finally {
    file.close();
  }
};

/** Writes a file under another name first; a kill in just this moment leaves that one behind. */
const writeDraft = async (
  path: string,
  draft: string,
  image: Buffer,
  mode: number,
): Promise<void> => {
  const file = attachFile({ path: draft, fd: fs.openSync(draft, 'wx+', mode) });
  try {
    await fill(file, image);
    moveToFree(draft, path);
  } finally {
    file.close();
    fs.rmSync(draft, { force: true });
  }
};

/** Where a link leads that has the store's name; undefined when there is a file, or no link. */
const deadLink = (path: string): string | undefined => {
  try {
    return fs.existsSync(path) ? undefined : fs.readlinkSync(path);
  } catch {
    return undefined;
  }
};

/** Why the store's name cannot be given: something has it. */
const nameTaken = (path: string, error: unknown): Fault => {
  const link = deadLink(path);
  if (link === undefined) return fault('store-exists', { path }, error);
  const reason = `it is a symbolic link to ${link}, where no file can be found`;
  return fault('store-unusable', { path, reason }, error);
};

export interface NewStoreOptions {
  /** Where its writes are logged, for tests. */
  readonly log?: string | undefined;
  /** Its permissions, before the umask; left out: those of any new file. */
  readonly mode?: number | undefined;
}

/**
 * Makes an empty store at `path` and opens it for writing. It gets its name when it is durable: never
 * a half store under the real name, never over an existing file.
 */
export const createStore = async (
  path: string,
  clusterBits: number,
  facts: StoreFacts,
  { log, mode = ANY_MODE }: NewStoreOptions = {},
): Promise<Store> => {
  const image = emptyImage(clusterBits, facts);
  try {
    if (!(await writeNameless(path, image, mode))) {
      await writeDraft(path, `${path}.new-${process.pid}-${facts.uuid.slice(0, 8)}`, image, mode);
    }
    syncFolder(path);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw nameTaken(path, error);
    const failed = ioFault(error, path, 'write');
    if (failed.code !== 'io-failed') throw failed;
    throw fault('store-unusable', { path, reason: reasonOf(error) }, error);
  }
  return Store.open(path, 'r+', log);
};
