// Ways to write to a file that move, share, drop or reserve its blocks, as commands of xfs_io(8).

import type { Random } from './files.js';

const PAGE = 4096;
const MiB = 2 ** 20;

/** What btrfs compresses as one. */
const PIECE = 128 * 1024;

/** One way: the commands for a file of `size` bytes. */
export type DiskEdit = (random: Random, size: number) => readonly string[];

/** A range of up to `most` bytes, on any boundary, and a byte to write there. */
const range = (random: Random, size: number, most: number) => {
  const length = 1 + random.below(most);
  return { at: random.below(size - length), length, byte: `-S ${1 + random.below(255)}` };
};

/** The same on borders of pages. */
const pages = (random: Random, size: number, most: number) => {
  const count = 1 + random.below(most);
  const at = random.below(Math.floor(size / PAGE) - count) * PAGE;
  return { at, length: count * PAGE, byte: `-S ${1 + random.below(255)}` };
};

const times = (count: number, make: () => readonly string[]): string[] =>
  Array.from({ length: count }, make).flat();

export const DISK_EDITS: Readonly<Record<string, DiskEdit>> = {
  'single bytes at borders of pages': (random, size) =>
    times(20, () => {
      const { at, byte } = pages(random, size, 1);
      return [`pwrite ${byte} ${at} 1`, `pwrite ${byte} ${at + PAGE - 1} 1`];
    }),
  'single bytes anywhere through a mapping': (random, size) => [
    `mmap -rw 0 ${size}`,
    ...times(40, () => {
      const { at, byte } = range(random, size, 1);
      return [`mwrite ${byte} ${at} 1`];
    }),
    'munmap',
  ],
  'a long write': (random, size) => {
    const { at, length, byte } = range(random, size, MiB);
    return [`pwrite ${byte} ${at} ${length}`];
  },
  'direct writes': (random, size) =>
    times(4, () => {
      const { at, length, byte } = pages(random, size, 16);
      return [`pwrite ${byte} ${at} ${length}`, 'fdatasync'];
    }),
  'the same bytes again': (random, size) => {
    const { at } = pages(random, size, 1);
    return times(3, () => [`pwrite -S 7 ${at} ${PAGE}`, 'fsync']);
  },
  holes: (random, size) =>
    times(4, () => {
      const { at, length } = range(random, size, MiB / 4);
      return [`fpunch ${at} ${length}`];
    }),
  'zeros over data': (random, size) => {
    const { at, length } = range(random, size, MiB / 4);
    return [`pwrite -S 0 ${at} ${length}`];
  },
  'copies within the file': (random, size) =>
    times(3, () => {
      const from = pages(random, size, 64);
      const to = Math.floor(random.below(size - from.length) / PAGE) * PAGE;
      const apart = Math.abs(to - from.at) >= from.length;
      return apart ? [`copy_range -s ${from.at} -d ${to} -l ${from.length} %`] : [];
    }),
  'shared blocks within the file': (random, size) =>
    times(3, () => {
      const from = pages(random, size, 64);
      const to = Math.floor(random.below(size - from.length) / PAGE) * PAGE;
      const apart = Math.abs(to - from.at) >= from.length;
      return apart ? [`reflink % ${from.at} ${to} ${from.length}`] : [];
    }),
  'part of an extent moved to its beginning': (random, size) =>
    // Where btrfs compresses, in pieces of 128 KiB, the place of both is then the same, and what is there is not.
    times(8, () => {
      const at = random.below(Math.floor(size / PIECE) - 1) * PIECE;
      return [`reflink % ${at + PAGE} ${at} ${PAGE}`];
    }),
  'shorter and longer again': (random, size) => {
    const cut = 1 + random.below(3 * PAGE);
    return [`truncate ${size - cut}`, `truncate ${size}`];
  },
  'shorter, synced, and longer again': (random, size) => {
    const cut = 1 + random.below(3 * PAGE);
    return [`truncate ${size - cut}`, 'fsync', `truncate ${size}`];
  },
  nothing: () => [],
};

/** Those that reserve room: once it has some, btrfs no longer compresses a file. */
export const ROOM_EDITS: Readonly<Record<string, DiskEdit>> = {
  'zeros without writing them': (random, size) => {
    const { at, length } = range(random, size, MiB / 4);
    return [`fzero ${at} ${length}`];
  },
  'room, and then data in some of it': (random, size) => {
    const { at, length } = pages(random, size, 100);
    return [
      `fpunch ${at} ${length}`,
      `falloc ${at} ${length}`,
      `pwrite -S 9 ${at + (length >> 1)} 100`,
    ];
  },
  'room where there is some already': (random, size) => {
    const { at, length } = range(random, size, MiB);
    return [`falloc ${at} ${length}`];
  },
  'room for data, synced before they are there': (random, size) => {
    const { at, length } = pages(random, size, 20);
    return [`fpunch ${at} ${length}`, `falloc ${at} ${length}`, 'fsync', `pwrite -S 5 ${at} 10`];
  },
};

/** Those that btrfs has no calls for. */
export const XFS_EDITS: Readonly<Record<string, DiskEdit>> = {
  'all of it moved, and back': (random, size) => {
    const { at } = pages(random, size - MiB, 1);
    return [`finsert ${at} ${4 * PAGE}`, `fcollapse ${at} ${4 * PAGE}`];
  },
  'moved for good': (random, size) => {
    const { at } = pages(random, size - MiB, 1);
    return [`finsert ${at} ${4 * PAGE}`, `truncate ${size}`];
  },
};
