// What a guest does to its image between two takes, by pattern; and how to undo it, so that the next case finds the
// image as it was made.

import fs from 'node:fs';
import { alignExtents, type Extent, KiB } from '../../disk/index.js';
import { Random } from './random.js';

const PAGE = 4 * KiB;
/** Runs of clusters that are written or freed together. */
const RUN_CLUSTERS = 16;
/** The part of the image that a hot set is in, and the share of the writes that hit it. */
const HOT_PART = 0.02;
const HOT_SHARE = 0.9;

/**
 * - `idle`: nothing.
 * - `scattered`: a page in each of so many clusters, evenly spread: harder than what most guests do.
 * - `hot`: as many pages, nine of ten of them in a fiftieth of the image.
 * - `bulk`: as many clusters, wholly, in runs of 16.
 * - `delete`: the same, and zeros.
 */
export const PATTERNS = ['idle', 'scattered', 'hot', 'bulk', 'delete'] as const;
export type Pattern = (typeof PATTERNS)[number];

export interface ChangeOptions {
  /** Default: scattered. */
  readonly pattern?: Pattern;
  /** Bytes. */
  readonly clusterSize: number;
  /** How many clusters or pages. */
  readonly count: number;
  readonly seed: number;
}

/** What was changed. */
export interface Change {
  /** Image bytes that were written to, in ascending order. */
  readonly extents: readonly Extent[];
  /** Writes what was there before. */
  undo(): void;
}

/** Whole clusters in runs, `count` in all or all there are. */
const runsOf = (random: Random, clusters: number, count: number): Set<number> => {
  const chosen = new Set<number>();
  while (chosen.size < count) {
    const first = random.between(0, clusters - 1);
    const end = Math.min(clusters, first + RUN_CLUSTERS);
    for (let i = first; i < end && chosen.size < count; i += 1) chosen.add(i);
  }
  return chosen;
};

/** The extents that a pattern touches, in the order of the draw. */
const draw = (random: Random, size: number, options: ChangeOptions): Extent[] => {
  const { clusterSize } = options;
  const pattern: Pattern = options.pattern ?? 'scattered';
  const clusters = Math.floor(size / clusterSize);
  const count = Math.min(options.count, clusters);
  const pageIn = (cluster: number): Extent => {
    const start = cluster * clusterSize + random.between(0, clusterSize / PAGE - 1) * PAGE;
    return { start, end: start + PAGE };
  };
  switch (pattern) {
    case 'idle':
      return [];
    case 'scattered': {
      const chosen = new Set<number>();
      while (chosen.size < count) chosen.add(random.between(0, clusters - 1));
      return [...chosen].map(pageIn);
    }
    case 'hot': {
      const width = Math.max(1, Math.floor(clusters * HOT_PART));
      const first = random.between(0, clusters - width);
      return Array.from({ length: count }, () =>
        random.share() < HOT_SHARE
          ? pageIn(first + random.between(0, width - 1))
          : pageIn(random.between(0, clusters - 1)),
      );
    }
    case 'bulk':
    case 'delete':
      return [...runsOf(random, clusters, count)].map((i) => ({
        start: i * clusterSize,
        end: (i + 1) * clusterSize,
      }));
  }
};

/**
 * Changes an image. What is written is what lies elsewhere in it, with a mark on each page: it compresses alike. It is on
 * the disk afterwards, so that whoever is measured next does not wait for it.
 */
export const changeImage = (path: string, options: ChangeOptions): Change => {
  const random = new Random(options.seed);
  const fd = fs.openSync(path, 'r+');
  try {
    const { size } = fs.fstatSync(fd);
    const drawn = draw(random, size, options).sort((a, b) => a.start - b.start);
    const extents = [...alignExtents(drawn, PAGE, size)];
    const before = extents.map(({ start, end }) => {
      const bytes = Buffer.allocUnsafe(end - start);
      fs.readSync(fd, bytes, 0, bytes.length, start);
      return bytes;
    });
    for (const { start, end } of extents) {
      const bytes = Buffer.alloc(end - start);
      if (options.pattern !== 'delete') {
        const pages = Math.floor((size - bytes.length) / PAGE);
        fs.readSync(fd, bytes, 0, bytes.length, random.between(0, pages) * PAGE);
        for (let at = 0; at < bytes.length; at += PAGE) random.fill(bytes.subarray(at, at + 16));
      }
      fs.writeSync(fd, bytes, 0, bytes.length, start);
    }
    fs.fdatasyncSync(fd);
    return { extents, undo: () => putBack(path, extents, before) };
  } finally {
    fs.closeSync(fd);
  }
};

const putBack = (path: string, extents: readonly Extent[], before: readonly Buffer[]): void => {
  const fd = fs.openSync(path, 'r+');
  try {
    for (const [i, { start }] of extents.entries()) {
      const bytes = before[i] as Buffer;
      fs.writeSync(fd, bytes, 0, bytes.length, start);
    }
  } finally {
    fs.closeSync(fd);
  }
};
