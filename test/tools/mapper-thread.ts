// One of several threads that go through an image once and store a few bytes into each of their pages: what is lost
// of a store is not made good by another.

import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { type Mapping, PAGE_BYTES, storeInto } from '../../disk/index.js';
import { Random } from './files.js';

/** Slow enough that a line is drawn before it is through. */
const PAUSE_MS = 15;

interface Work {
  readonly mapping: Mapping;
  readonly thread: number;
  readonly threads: number;
}

const { mapping, thread, threads } = workerData as Work;
const random = new Random(performance.now());
for (let at = thread * PAGE_BYTES; at < mapping.length; at += threads * PAGE_BYTES) {
  if (at === thread * PAGE_BYTES) parentPort?.postMessage('begins');
  storeInto(mapping, at + random.below(PAGE_BYTES - 8), random.bytes(8));
  await sleep(PAUSE_MS);
}
