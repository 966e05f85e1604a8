// The two steps of a take that need no thread: twin recognises clusters whose content was met before in
// the same image, or lies elsewhere in the parent; place gives everything else its place in the store. Both
// run on the main thread, in image order, which is what makes them simple.

import { DIGEST_BYTES } from '../disk/index.js';
import { type Batch, Kind, type MainStep } from '../pipeline/index.js';
import type { Placer } from '../qcow2/index.js';
import type { Contents } from './contents.js';
import type { Twins } from './twins.js';

/** True when the cluster with the digest at `digests[at]` has a place already, or will have one. */
const isTwin = (
  digests: Buffer,
  at: number,
  twins: Twins,
  contents: Contents | undefined,
): boolean => {
  const role = twins.announce(digests, at);
  if (role !== 'first') return role === 'twin';
  const found = contents?.find(digests, at);
  if (found) twins.placed(digests, at, found);
  return found !== undefined;
};

/** twin, before compress: what has a twin is not compressed again. `contents`: the parent's, to look there too. */
export const twinStep = (twins: Twins, contents: Contents | undefined): MainStep => ({
  name: 'twin',
  main: (batch) => {
    for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
      if (batch.kinds[i] !== Kind.plain) continue;
      if (isTwin(batch.digests, i * DIGEST_BYTES, twins, contents)) batch.kinds[i] = Kind.twin;
    }
  },
});

/** Gives every cluster that has to be written its place: payloads first, then plain clusters. */
const placeOwn = (batch: Batch, placer: Placer): void => {
  const { kinds, lengths, places } = batch;
  let rest = 0;
  for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
    if (kinds[i] === Kind.packed) rest += lengths[i] as number;
  }
  for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
    if (kinds[i] !== Kind.packed) continue;
    places[i] = placer.packed(lengths[i] as number, rest);
    rest -= lengths[i] as number;
  }
  for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
    if (kinds[i] === Kind.plain) places[i] = placer.plain();
  }
};

/** Tells `twins` where its firsts went, and each twin where its first is. */
const placeTwins = (batch: Batch, twins: Twins): void => {
  for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
    const at = i * DIGEST_BYTES;
    const kind = batch.kinds[i];
    if (kind === Kind.plain || kind === Kind.packed) {
      const length = kind === Kind.packed ? (batch.lengths[i] as number) : 0;
      twins.placed(batch.digests, at, { place: batch.places[i] as number, length });
    } else if (kind === Kind.twin) {
      const { place, length } = twins.where(batch.digests, at);
      batch.places[i] = place;
      batch.lengths[i] = length;
    }
  }
};

/** place, after compress and before write. */
export const placeStep = (placer: Placer, twins: Twins | undefined): MainStep => ({
  name: 'place',
  main: (batch) => {
    placeOwn(batch, placer);
    if (twins) placeTwins(batch, twins);
  },
});
