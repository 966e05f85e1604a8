// What runs in every thread of every pool. A task is a slab's number.

import { workerData } from 'node:worker_threads';
import { Batch } from './slab.js';
import { type Outcome, openThread, type ThreadSetup } from './thread.js';

const setup = workerData as ThreadSetup;
const batches = setup.memory.map((memory, i) => new Batch(i, setup.layout, memory));
const perform = openThread(setup);

export default (slab: number): Promise<Outcome> => perform(batches[slab] as Batch);
