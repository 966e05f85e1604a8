// The examples as the tests ask for them, and images to try them on.

import type { Test } from 'tap';
import { type StageRequest, use } from '../../snapshot/index.js';
import { Random } from '../tools/files.js';

export const CLUSTER = 4096;
const MiB = 2 ** 20;

/** So little that batches are of 1 MiB. */
export const SMALL_MEMORY = 24 * MiB;
export const BATCH_BYTES = MiB;

/** Path of an example, as a URL. */
export const exampleUrl = (name: string): URL =>
  new URL(`../../../examples/${name}.js`, import.meta.url);

/** Asks for an example. */
export const example = (
  name: string,
  options: Readonly<Record<string, unknown>> = {},
  where: Pick<StageRequest, 'at' | 'threads'> = {},
): StageRequest => use(exampleUrl(name), options, where);

/** Of text, noise and zeros in turns of 16 clusters; three batches and a short cluster at the end. */
export const mixedImage = (seed: number): Buffer => {
  const random = new Random(seed);
  const image = Buffer.alloc(
    3 * BATCH_BYTES + 7 * CLUSTER + 333,
    'what changes little packs well, ',
  );
  const turn = 16 * CLUSTER;
  for (let at = turn; at + turn <= image.length; at += 3 * turn) random.bytes(turn).copy(image, at);
  for (let at = 2 * turn; at + turn <= image.length; at += 3 * turn) image.fill(0, at, at + turn);
  return image;
};

/** A signal that is aborted as soon as `condition` is seen to hold. */
export const abortWhen = (t: Test, condition: () => boolean): AbortSignal => {
  const controller = new AbortController();
  const timer = setInterval(() => {
    if (condition()) controller.abort();
  }, 10);
  t.teardown(() => clearInterval(timer));
  return controller.signal;
};
