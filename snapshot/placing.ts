// The two steps of a take that need no thread: twin recognises clusters whose content was met before
// in the same image, place gives everything else its place in the store. Both run on the main thread,
// in image order, which is what makes them simple.

import { DIGEST_BYTES } from '../disk/index.js';
import { type Batch, Kind, type MainStep } from '../pipeline/index.js';
import type { Placer } from '../qcow2/index.js';
import type { Twins } from './twins.js';

/** twin, before compress: what has a twin is not compressed again. */
export const twinStep = (twins: Twins): MainStep => ({
  name: 'twin',
  main: (batch) => {
    for (let i = 0; i < batch.count; i += 1) {
      if (batch.kinds[i] !== Kind.plain) continue;
      if (twins.announce(batch.digests, i * DIGEST_BYTES)) batch.kinds[i] = Kind.twin;
    }
  },
});

/** Places what has to be written; returns what was placed, in cluster order. */
const placeOwn = (batch: Batch, placer: Placer): void => {
  const packed: number[] = [];
  const plain: number[] = [];
  const lengths: number[] = [];
  for (let i = 0; i < batch.count; i += 1) {
    if (batch.kinds[i] === Kind.plain) plain.push(i);
    else if (batch.kinds[i] === Kind.packed) {
      packed.push(i);
      lengths.push(batch.lengths[i] as number);
    }
  }
  placer.packed(lengths).forEach((offset, n) => {
    batch.places[packed[n] as number] = offset;
  });
  placer.plain(plain.length).forEach((offset, n) => {
    batch.places[plain[n] as number] = offset;
  });
};

/** Tells `twins` where its firsts went, and each twin where its first is. */
const placeTwins = (batch: Batch, twins: Twins): void => {
  for (let i = 0; i < batch.count; i += 1) {
    const at = i * DIGEST_BYTES;
    const kind = batch.kinds[i];
    if (kind === Kind.plain || kind === Kind.packed) {
      const length = kind === Kind.packed ? (batch.lengths[i] as number) : 0;
      twins.placed(batch.digests, at, batch.places[i] as number, length);
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
