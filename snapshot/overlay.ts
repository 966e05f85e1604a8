// An image of which there is only what changed: the rest of the clusters that changed in part is the parent's, and
// is fetched from the store. Both are put together in a file without a name that is as sparse as the changes.

import fs from 'node:fs';
import { dirname } from 'node:path';
import {
  alignExtents,
  attachFile,
  type Extent,
  ioFault,
  MiB,
  openNameless,
  subtractExtents,
} from '../disk/index.js';
import type { OwnSnapshot, Store } from '../qcow2/index.js';
import { frozenImage, type Image, wholeOf } from './image.js';
import { pour } from './pour.js';
import type { RunOptions } from './run-options.js';
import { digestsOf } from './store.js';

const COPY_BYTES = MiB;

/** What is put together. */
export interface Overlay {
  /** Has data only where it changed. */
  readonly image: Image;
  readonly store: Store;
  readonly parent: OwnSnapshot;
}

/** A file without a name beside the store. */
const openScratch = (store: string): number => {
  const fd = openNameless(dirname(store));
  if (fd !== undefined) return fd;
  const path = `${store}.part-${process.pid}`;
  try {
    const named = fs.openSync(path, 'wx+');
    fs.rmSync(path);
    return named;
  } catch (error) {
    throw ioFault(error, path, 'write');
  }
};

/** Clusters of which some bytes changed and others did not. */
const mixedClusters = (changed: readonly Extent[], clusterSize: number, size: number): Extent[] => {
  const touched = [...alignExtents(changed, clusterSize, size)];
  return [...alignExtents(subtractExtents(touched, changed), clusterSize, size)];
};

/** The image as it is with its changes: complete in every cluster that changed. */
export const overlayImage = async (
  { image, store, parent }: Overlay,
  options: RunOptions,
): Promise<Image> => {
  const { clusterSize } = store.geometry;
  const { size } = image;
  const changed = [...image.data(wholeOf(size))];
  const path = `the changes of ${image.path}`;
  const file = attachFile({ path, fd: openScratch(store.path) });
  try {
    file.truncate(size);
    await pour(
      {
        verb: 'overlay',
        store,
        snapshot: parent,
        digests: digestsOf(store, parent),
        window: { start: 0, end: size },
        parts: mixedClusters(changed, clusterSize, size),
        output: { output: file.spec, manner: 'fresh', shift: 0 },
        zeros: () => {},
      },
      options,
    );
    const from = attachFile({ path: image.path, fd: image.fd });
    const bytes = Buffer.alloc(COPY_BYTES);
    for (const { start, end } of changed) {
      for (let at = start; at < end; at += COPY_BYTES) {
        const piece = bytes.subarray(0, Math.min(COPY_BYTES, end - at));
        if (from.read(piece, at) < piece.length) image.checkSize();
        file.write(piece, at);
      }
    }
  } catch (error) {
    file.close();
    throw error;
  }
  return {
    ...frozenImage(image, { path, fd: file.spec.fd }),
    // What was put together is as long as ever; what was read may not be.
    checkSize: () => image.checkSize(),
    close: () => file.close(),
  };
};
