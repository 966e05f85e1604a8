// One of several threads that store into an image over and over, a few bytes at a time anywhere.

import { setTimeout as sleep } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import { type Mapping, storeInto } from '../../disk/index.js';
import { Random } from './files.js';

const STORES_AT_ONCE = 50;

const { mapping, seed } = workerData as { mapping: Mapping; seed: number };
const random = new Random(seed);
for (;;) {
  for (let i = 0; i < STORES_AT_ONCE; i += 1) {
    storeInto(mapping, random.below(mapping.length - 8), random.bytes(8));
  }
  // On a small machine others want to get on, too.
  await sleep(1);
}
