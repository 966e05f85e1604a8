// Is this image the one that the store holds snapshots of? A path says so; where the path is another
// (a copy, a clone, a mistake), a sample of the content must.

import {
  attachFile,
  DIGEST_BYTES,
  type Digester,
  fault,
  isZeroDigest,
  sameDigest,
} from '../disk/index.js';
import { DigestReader, type OwnSnapshot, type Store } from '../qcow2/index.js';
import type { Image } from './image.js';

/** One equal cluster among this many says "same image"; all different says "another". */
const SAMPLES = 64;

/** Guest clusters with data, spread over the part that image and parent have in common. */
function* sampleClusters(digests: DigestReader, clusters: number): Generator<number> {
  const step = Math.max(1, Math.floor(clusters / SAMPLES));
  const one = Buffer.alloc(DIGEST_BYTES);
  let found = 0;
  for (let start = 0; start < clusters && found < SAMPLES; start += step) {
    for (let c = start; c < Math.min(start + step, clusters); c += 1) {
      digests.read(c, 1, one);
      if (isZeroDigest(one, 0)) continue;
      yield c;
      found += 1;
      break;
    }
  }
}

/** Refuses an image from another path that has nothing in common with the parent. */
export const checkLineage = (
  store: Store,
  image: Image,
  parent: OwnSnapshot,
  digester: Digester,
): void => {
  if (!image.seekable || image.realPath === parent.record.image) return;
  const { clusterSize } = store.geometry;
  const common = Math.floor(Math.min(image.size, parent.record.imageSize) / clusterSize);
  const digests = new DigestReader(store, parent, digester);
  const file = attachFile({ path: image.path, fd: image.fd });
  const cluster = Buffer.alloc(clusterSize);
  const own = Buffer.alloc(DIGEST_BYTES);
  const known = Buffer.alloc(DIGEST_BYTES);
  let looked = 0;
  for (const c of sampleClusters(digests, common)) {
    file.read(cluster, c * clusterSize);
    digester.digest(cluster, own, 0);
    digests.read(c, 1, known);
    if (sameDigest(own, 0, known, 0)) return;
    looked += 1;
  }
  if (looked === 0) return;
  throw fault('image-other', {
    image: image.path,
    store: store.path,
    made: parent.record.image,
    size: image.size,
    parentSize: parent.record.imageSize,
  });
};
