// reflink[:DIR]: a clone of the image (btrfs, XFS) is read in its place, so that the image may go on changing. The
// clone stays as long as its snapshot is the store's latest: what lies elsewhere in the next one may have changed.
//
//     begin      sync the image, clone it without a name; its places are compared with those of the parent's clone
//     commit     give the clone its snapshot's name, then remove the old one
//     dispose    close the clone; if it has no name, that was the end of it
//
// A clone without a name ends with the process that made it, so nothing is ever to be tidied up. The price: a process
// that is killed after its snapshot was published and before the clone has its name makes the next take read everything.

import fs from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import {
  attachFile,
  cloneNameless,
  type Extent,
  errnoOf,
  type Fault,
  fault,
  ioFault,
  placedExtents,
  reasonOf,
} from '../disk/index.js';
import { CloneFolder, markOf, originOf } from './clone-folder.js';
import { placeDifference } from './place-difference.js';
import type { Changes, DirtySource, Epoch, Since, TrackedImage } from './source.js';
import type { SourceKind } from './spec.js';
import { unsuitable } from './tracker-file.js';

const NAME = 'reflink';

/**
 * The file systems of which we know that a shared block is never overwritten, and that a place is one on the whole
 * of the disks beneath. By statfs(2).
 */
const KNOWN_TYPES: ReadonlySet<number> = new Set([0x5846_5342 /* XFS */, 0x9123_683e /* btrfs */]);

/** What says that a file system has no clones; ENOTSUP is what Node calls EOPNOTSUPP. */
const NO_CLONES: ReadonlySet<string> = new Set(['EOPNOTSUPP', 'ENOTSUP', 'ENOTTY', 'ENOSYS']);

/** An epoch's id, as "reflink:MARK:ORIGIN": of the clone, and of the image it was made of. */
const EPOCH_ID = /^reflink:([0-9a-z.]+):([0-9a-z.]+)$/;

const cloneFault = (error: unknown, path: string, folder: string): Fault => {
  const code = errnoOf(error) ?? '';
  if (code === 'ENOSPC' || code === 'EDQUOT') return ioFault(error, folder, 'write');
  if (code === 'EXDEV') {
    return unsuitable(NAME, `${folder} is on another file system than ${path}`, error);
  }
  if (NO_CLONES.has(code)) {
    return unsuitable(
      NAME,
      `the file system of ${folder} makes no clones, as btrfs and XFS do`,
      error,
    );
  }
  return unsuitable(NAME, `${path} cannot be cloned into ${folder}: ${reasonOf(error)}`, error);
};

const cloneOf = async (
  { path, fd, size, stilled }: TrackedImage,
  folder: string,
): Promise<number> => {
  // Most of what is dirty is written back before the clone is made, since that keeps writers waiting.
  if (!stilled) await attachFile({ path, fd }).sync();
  let clone: number;
  try {
    clone = cloneNameless(fd, folder);
  } catch (error) {
    throw cloneFault(error, path, folder);
  }
  try {
    const got = fs.fstatSync(clone).size;
    if (got !== size) throw fault('image-resized', { path, expected: size, got });
    return clone;
  } catch (error) {
    fs.closeSync(clone);
    throw ioFault(error, path, 'clone');
  }
};

/** The mark must be that of the file on the disk before a snapshot says it. */
const syncClone = (clone: number, path: string): void => {
  try {
    fs.fsyncSync(clone);
  } catch (error) {
    throw ioFault(error, path, 'clone');
  }
};

/** Why the changes since a parent cannot be told from its clone, if they cannot. */
const doubtOf = (parent: number, clone: number, folder: string): string | undefined => {
  if (fs.fstatSync(parent).dev !== fs.fstatSync(clone).dev) return 'its clone is on another disk';
  return KNOWN_TYPES.has(fs.statfsSync(folder).type)
    ? undefined
    : 'it is not known of this file system that shared blocks are never overwritten';
};

const differences = (parent: number, clone: number, size: number): readonly Extent[] => [
  ...placeDifference(placedExtents(parent, size), placedExtents(clone, size)),
];

const unknown = (reason: string): Changes => ({ known: false, reason });

/** What may have changed from the parent's clone to this one. */
const changesOf = (
  folder: CloneFolder,
  clone: number,
  image: TrackedImage,
  since: Since,
): Changes => {
  const [, mark, origin] = EPOCH_ID.exec(since.epoch) ?? [];
  if (mark === undefined) return unknown('the parent was not taken with it');
  if (origin !== originOf(image.fd)) return unknown('the parent was taken of another image file');
  const kept = folder.open(since.uuid);
  if (!kept) return unknown(`${folder.path} holds no clone of the parent any more`);
  try {
    if (markOf(kept.fd) !== mark) {
      return unknown(`${kept.path} is no longer the clone that the parent was read from`);
    }
    const doubt = doubtOf(kept.fd, clone, folder.path);
    if (doubt !== undefined) return unknown(doubt);
    const extents = differences(kept.fd, clone, image.size);
    return { known: true, extents: () => extents };
  } finally {
    fs.closeSync(kept.fd);
  }
};

/** The same, and where that fails, why: then everything is read. */
const changesOrReason = (...args: Parameters<typeof changesOf>): Changes => {
  try {
    return changesOf(...args);
  } catch (error) {
    return unknown(`the parent's clone cannot be compared: ${reasonOf(error)}`);
  }
};

/** Keeps the clone of a snapshot that is durable, in place of the one before. */
const keepClone = (folder: CloneFolder, clone: number, uuid: string, since?: Since): void => {
  try {
    if (folder.keep(clone, uuid)) folder.retire(uuid, since?.uuid);
  } catch {
    // The snapshot is whole. Without its clone the next take reads everything, and says why.
  }
};

/** Refuses what is no file in a folder. */
const checkImage = ({ path, realPath, fd }: TrackedImage): void => {
  if (isAbsolute(realPath) && fs.fstatSync(fd).isFile()) return;
  const what = isAbsolute(realPath)
    ? `${path} is not a regular file`
    : 'the image is standard input';
  throw unsuitable(NAME, `${what}, and only regular files can be cloned`);
};

const reflinkSource = (chosen: string | undefined): DirtySource => ({
  name: NAME,
  certainty: 'superset',
  begin: async (image, since, store): Promise<Epoch> => {
    checkImage(image);
    const { path, realPath, fd } = image;
    const folder = new CloneFolder(resolve(chosen ?? dirname(realPath)), store);
    const clone = await cloneOf(image, folder.path);
    const origin = originOf(fd);
    let isSynced = false;
    let changes: Changes | undefined;
    // What follows comes when somebody asks: who has stilled the image waits only for the clone.
    const settle = (): void => {
      if (!isSynced) syncClone(clone, path);
      isSynced = true;
    };
    return {
      get id() {
        settle();
        return `${NAME}:${markOf(clone)}:${origin}`;
      },
      get changes() {
        settle();
        changes ??= since
          ? changesOrReason(folder, clone, image, since)
          : unknown('there is no parent');
        return changes;
      },
      frozen: { path: `${path} (clone)`, fd: clone, onlyChanges: false },
      commit: async (uuid) => keepClone(folder, clone, uuid, since),
      dispose: async () => fs.closeSync(clone),
    };
  },
});

export const reflinkKind: SourceKind = {
  name: NAME,
  usage: 'reflink[:DIR]',
  argument: 'optional',
  namesPath: true,
  keys: [],
  open: ({ argument }) => reflinkSource(argument),
};
