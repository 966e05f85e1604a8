// Where the content of a new snapshot comes from: an image that is read, or another snapshot.

import type { Extent } from '../disk/index.js';
import { alignExtents, subtractExtents } from '../disk/index.js';
import type { Batch, SlabPool } from '../pipeline/index.js';
import type { DigestReader } from '../qcow2/index.js';
import { type Image, wholeOf } from './image.js';
import { bytesIn, imageBatches } from './reading.js';
import { Spans } from './spans.js';

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
  /** The same beside a parent, in spans; left out where batches must have room for all that they stand for. */
  readonly spans?: Spans | undefined;
}

/** What may have changed since the parent. */
export interface Candidates {
  /** On cluster boundaries, in ascending order. */
  readonly extents: readonly Extent[];
  /** True when most of it is expected to be the parent's all the same. */
  readonly mostlySame: boolean;
}

/** An image, of which `changed` may have changed since the parent; all of it counts without one. */
export const imageFeed = (
  image: Image,
  clusterSize: number,
  changed: Candidates | undefined,
): Feed => {
  const { size } = image;
  const within = changed?.extents ?? wholeOf(size);
  const mostlySame = changed?.mostlySame ?? false;
  const extents = [...alignExtents(image.data(within), clusterSize, size)];
  const gaps = changed ? [...subtractExtents(within, extents)] : [];
  return {
    verb: 'take',
    imageSize: size,
    image,
    mostlySame,
    bytes: bytesIn(extents),
    gaps,
    source: async function* (slabs, known) {
      if (!image.seekable && size === 0) {
        // There is nothing to read, but scan must see that the pipe ends here.
        const batch = await slabs.lease();
        batch.begin(0, 0);
        yield batch;
      }
      yield* imageBatches(extents, slabs, known);
    },
    spans: changed && image.seekable ? new Spans(extents, gaps, mostlySame) : undefined,
  };
};
