// Where the content of a new snapshot comes from: an image that is read, or another snapshot.

import type { Extent } from '../disk/index.js';
import { alignExtents, intersectExtents, subtractExtents } from '../disk/index.js';
import type { Batch, SlabPool } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';
import type { Image } from './image.js';
import { bytesIn, imageBatches } from './reading.js';

export interface Feed {
  /** For progress: "take", "convert". */
  readonly verb: string;
  /** Size of the image in bytes. */
  readonly imageSize: number;
  /** The image, if batches come empty and scan is to fill them from it. */
  readonly image: Image | undefined;
  /** True when most of what is read is expected to be the parent's. */
  readonly mostlySame: boolean;
  /** Image bytes that batches will stand for. */
  readonly bytes: number;
  /** Ranges that read as zeros and come in no batch, on cluster boundaries, in ascending order. */
  readonly gaps: readonly Extent[];
  /** Leased, begun batches in image order; `known` are the parent's digests. */
  source(slabs: SlabPool, known: DigestReader | undefined): AsyncGenerator<Batch>;
}

/** An image, of which `dirty` may have changed since the parent; all of it counts without one. */
export const imageFeed = (
  image: Image,
  clusterSize: number,
  dirty: Iterable<Extent> | undefined,
): Feed => {
  const { size } = image;
  const data = [...alignExtents(image.data(), clusterSize, size)];
  const changed = dirty && [...alignExtents(dirty, clusterSize, size)];
  const extents = changed ? [...intersectExtents(data, changed)] : data;
  return {
    verb: 'take',
    imageSize: size,
    image,
    mostlySame: changed !== undefined,
    bytes: bytesIn(extents),
    gaps: changed ? [...subtractExtents(changed, data)] : [],
    source: async function* (slabs, known) {
      if (!image.seekable && size === 0) {
        // There is nothing to read, but scan must see that the pipe ends here.
        const batch = await slabs.lease();
        batch.begin(0, 0);
        yield batch;
      }
      yield* imageBatches(extents, slabs, known);
    },
  };
};
