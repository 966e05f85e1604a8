// The line of stages of a take, as one sentence.

import type { Step } from '../pipeline/index.js';
import type { Placer } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import type { Image } from './image.js';
import { placeStep, twinStep } from './placing.js';
import { isLarge, type Threads, threadsFor } from './plan.js';
import type { WritableStore } from './store.js';
import { Twins } from './twins.js';

/** What decides which stages a take needs, and how many threads each gets. */
export interface TakeLine {
  readonly image: Image;
  readonly target: WritableStore;
  /** Whether there is a parent to compare with. */
  readonly dependent: boolean;
  readonly placer: Placer;
  /** Image bytes that will be read, and in how many batches. */
  readonly bytes: number;
  readonly batches: number;
  readonly level: number | undefined;
  readonly threads: Threads | undefined;
}

/** As many threads as the machine has processors. */
const ALL = Number.POSITIVE_INFINITY;

export const takeLine = (line: TakeLine): Step[] => {
  const { image, dependent, placer } = line;
  const { store, facts } = line.target;
  const { path, fd, size, seekable } = image;
  const { codec } = facts;
  const digests = { algorithm: facts.digest, seed: facts.seed };
  const large = isLarge(line.bytes, dependent);
  const crew = (stage: string, usual: number, sure: boolean): stages.Crew => ({
    threads: threadsFor(stage, line.threads, usual, line.batches),
    early: large && sure,
  });
  // Where everything is compressed, one reader keeps all compressors busy; else reading is the work.
  const readers = dependent ? ALL : codec === 'none' ? 2 : 1;
  // A dependent take finds its duplicates in the parent; a complete one can only look at itself.
  const twins = dependent ? undefined : new Twins(store.geometry.clusters(size));
  return [
    stages.scan({ path, fd, size, seekable, digests, dependent }, crew('scan', readers, true)),
    stages.dedup(digests, crew('dedup', 1, false)),
    stages.pad(crew('pad', 1, false)),
    ...(twins ? [twinStep(twins)] : []),
    ...(codec === 'none'
      ? []
      : [stages.compress({ codec, level: line.level }, crew('compress', ALL, !dependent))]),
    placeStep(placer, twins),
    stages.write(store.file.spec, crew('write', codec === 'none' ? 2 : 1, !dependent)),
  ];
};
