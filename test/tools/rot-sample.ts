// A store whose bytes are to be turned over: small, with everything in it that a store can have.

import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CodecName, type StageRequest, take, use } from '../../snapshot/index.js';
import { Random } from './files.js';

const CLUSTER = 4096;

const AES_GCM = fileURLToPath(new URL('../../../examples/aes-gcm.js', import.meta.url));

/** The stage that encrypts, with a key that is always the same in a new file of `folder`. */
export const encrypted = (folder: string, seed = 1): StageRequest => {
  const key = join(folder, `key-${seed}`);
  fs.writeFileSync(key, new Random(seed).bytes(32).toString('hex'));
  return use(AES_GCM, { key });
};

/** A sound store, and what its snapshots hold. */
export interface Sample {
  readonly folder: string;
  readonly store: string;
  readonly images: ReadonlyMap<string, Buffer>;
  /** Through which it was written. */
  readonly stages: readonly StageRequest[];
}

/** Two snapshots of text, noise, holes and a short tail; the second shares most with the first, and is longer. */
export const makeSample = async (
  folder: string,
  compression: CodecName,
  stages: readonly StageRequest[] = [],
): Promise<Sample> => {
  const random = new Random(5);
  const [path, store] = [join(folder, 'image'), join(folder, 'store')];
  // What does not repeat itself within 300 bytes, so that there is something to store.
  const words = (): string => random.bytes(300).toString('base64');
  const whole = Buffer.alloc(18 * CLUSTER);
  for (let c = 0; c < 18; c += 1) whole.fill(words(), c * CLUSTER, (c + 1) * CLUSTER);
  random.bytes(2 * CLUSTER).copy(whole, 6 * CLUSTER);
  whole.fill(0, 12 * CLUSTER, 14 * CLUSTER);
  const first = whole.subarray(0, 17 * CLUSTER + 100);
  const second = Buffer.concat([first, Buffer.alloc(CLUSTER, words())]);
  second.fill(words(), 2 * CLUSTER, 3 * CLUSTER);
  random.bytes(CLUSTER).copy(second, 7 * CLUSTER);
  second.fill(0, 9 * CLUSTER, 10 * CLUSTER);
  const images = new Map([
    ['first', first],
    ['second', second],
  ]);
  for (const [tag, image] of images) {
    fs.writeFileSync(path, image);
    await take({ image: path, store, tag, compression, clusterSize: CLUSTER, threads: 1, stages });
  }
  fs.rmSync(path);
  return { folder, store, images, stages };
};
