// The image to be snapshotted: a regular file, a block device, or standard input.

import fs from 'node:fs';
import type { Frozen } from '../dirty/index.js';
import {
  ANY_MODE,
  BLOCK_BYTES,
  dataWithin,
  type Extent,
  errnoOf,
  fault,
  fileIdentity,
  reasonOf,
  seekEnd,
} from '../disk/index.js';

export const STDIN = '-';

/** tmpfs, as statfs(2) names it. */
const TMPFS = 0x01021994;

/**
 * True for a file on tmpfs without holes. There a block is a page that exists, and looking for a hole
 * means looking at each of them: 10 ms per GiB. Elsewhere a block may be allocated and yet read as zeros.
 */
const isDense = (path: string, stat: fs.Stats): boolean =>
  stat.isFile() &&
  stat.size > 0 &&
  stat.blocks * BLOCK_BYTES >= stat.size &&
  fs.statfsSync(path).type === TMPFS;

/** What a dirty source has frozen of an image: it is the source's to close. */
export const frozenImage = (image: Image, { path, fd }: Pick<Frozen, 'path' | 'fd'>): Image => {
  const now = (): number => fs.fstatSync(fd).size;
  if (now() !== image.size) {
    const problem = `${path} has ${now()} bytes, but the image has ${image.size}`;
    throw fault('image-unreadable', { path: image.path, reason: problem });
  }
  return {
    ...image,
    path,
    fd,
    data: (within) => dataWithin(fd, within),
    checkSize: () => {
      if (now() < image.size) {
        throw fault('image-shrank', { path, expected: image.size, got: now() });
      }
    },
    close: () => {},
  };
};

/** All of an image of `size` bytes. */
export const wholeOf = (size: number): readonly Extent[] =>
  size === 0 ? [] : [{ start: 0, end: size }];

export interface Image {
  /** As the caller named it; "-" for standard input. */
  readonly path: string;
  /** Absolute path with links resolved: what the record keeps. */
  readonly realPath: string;
  readonly fd: number;
  /** Which file or device it is, whatever its path. */
  readonly identity: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  /** Bytes it has data for, roughly; at most its size. */
  readonly allocatedBytes: number;
  /** Permissions of its file; of standard input those of any file. */
  readonly mode: number;
  /** False for standard input: it can be read only once and in order. */
  readonly seekable: boolean;
  /** Where in `within` (sorted, disjoint) it has data; the rest reads as zeros. */
  data(within: Iterable<Extent>): Iterable<Extent>;
  /** Refuses when the image is no longer as long as it was. */
  checkSize(): void;
  close(): void;
}

const openInput = (size: number | undefined): Image => {
  if (size === undefined) {
    throw fault('usage', {
      problem: 'The size of an image from standard input is not known.',
      advice: 'Give it with --size, as in --size 256G.',
    });
  }
  return {
    path: STDIN,
    realPath: STDIN,
    fd: 0,
    identity: STDIN,
    size,
    allocatedBytes: size,
    mode: ANY_MODE,
    seekable: false,
    data: (within) => within,
    checkSize: () => {},
    close: () => {},
  };
};

const kindOf = (stat: fs.Stats): string => {
  if (stat.isDirectory()) return 'a directory';
  if (stat.isFIFO()) return 'a pipe';
  if (stat.isSocket()) return 'a socket';
  return 'a character device';
};

const openPath = (path: string): { fd: number; stat: fs.Stats } => {
  try {
    const stat = fs.statSync(path);
    if (!stat.isFile() && !stat.isBlockDevice()) {
      throw fault('image-unsuitable', { path, kind: kindOf(stat) });
    }
    return { fd: fs.openSync(path, 'r'), stat };
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') throw fault('image-missing', { path }, error);
    if (code === 'EACCES' || code === 'EPERM') {
      throw fault('image-unreadable', { path, reason: 'permission denied' }, error);
    }
    throw code?.startsWith('E')
      ? fault('image-unreadable', { path, reason: reasonOf(error) }, error)
      : error;
  }
};

/** Opens the image. `size` (bytes) is needed for standard input and refused elsewhere. */
export const openImage = (path: string, size?: number): Image => {
  if (size !== undefined && !(Number.isSafeInteger(size) && size >= 0)) {
    throw fault('usage', {
      problem: `${size} is not a size in bytes.`,
      advice: 'Give a whole number of bytes.',
    });
  }
  if (path === STDIN) return openInput(size);
  if (size !== undefined) {
    throw fault('usage', {
      problem: '--size is for standard input only.',
      advice: 'Leave it out: the image has a size of its own.',
    });
  }
  const { fd, stat } = openPath(path);
  const length = stat.isFile() ? stat.size : seekEnd(fd);
  const dense = isDense(path, stat);
  const now = (): number => (stat.isFile() ? fs.fstatSync(fd).size : seekEnd(fd));
  return {
    path,
    realPath: fs.realpathSync(path),
    fd,
    identity: fileIdentity(fd),
    size: length,
    allocatedBytes: stat.isFile() ? Math.min(length, stat.blocks * BLOCK_BYTES) : length,
    mode: stat.mode,
    seekable: true,
    data: (within) => (dense ? within : dataWithin(fd, within)),
    checkSize: () => {
      if (now() < length) throw fault('image-shrank', { path, expected: length, got: now() });
    },
    close: () => fs.closeSync(fd),
  };
};
