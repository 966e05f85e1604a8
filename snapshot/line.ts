// The line of stages of a take, as one sentence.

import type { Pools, Step } from '../pipeline/index.js';
import type { CodecName, Placer } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import type { Contents } from './contents.js';
import type { Image } from './image.js';
import { placeStep, twinStep } from './placing.js';
import { isLarge, planCrews, type Threads } from './plan.js';
import { digestOptionsOf, type WritableStore } from './store.js';
import type { Twins } from './twins.js';

/** What decides how many threads each stage gets. */
export interface TakeWork {
  /** True when most of what is read is expected to be the parent's. */
  readonly mostlySame: boolean;
  readonly codec: CodecName;
  /** False for an image that can be read only in order. */
  readonly seekable: boolean;
  /** Image bytes that will be read, and in how many batches. */
  readonly bytes: number;
  readonly batches: number;
  /** What the caller asked for. */
  readonly threads: Threads | undefined;
}

type TakeStage = 'scan' | 'dedup' | 'pad' | 'compress' | 'write';

/** As many threads as the machine has processors. */
const ALL = Number.POSITIVE_INFINITY;

const crewsFor = (work: TakeWork): Readonly<Record<TakeStage, stages.Crew>> => {
  const { mostlySame } = work;
  const crew = planCrews(work.threads, work.batches, isLarge(work.bytes, mostlySame));
  const plain = work.codec === 'none';
  // Where everything is compressed, one reader keeps all compressors busy; else reading is the work.
  const readers = mostlySame ? ALL : plain ? 2 : 1;
  const scan = crew('scan', readers, true);
  return {
    scan: work.seekable ? scan : { ...scan, threads: 1 },
    dedup: crew('dedup', 1, false),
    pad: crew('pad', 1, false),
    compress: crew('compress', ALL, !mostlySame && !plain),
    write: crew('write', plain ? 2 : 1, !mostlySame),
  };
};

/** Starts the threads that are sure to be needed. */
export const startTake = (pools: Pools, work: TakeWork): void => {
  for (const [name, { threads, early }] of Object.entries(crewsFor(work))) {
    if (early) pools.start(stages.place(name, threads));
  }
};

/** What the line of stages works on. */
export interface TakeLine extends TakeWork {
  /** The image that scan reads; undefined when batches come with their bytes. */
  readonly image: Image | undefined;
  /** Whether there is a parent to compare with. */
  readonly dependent: boolean;
  /** To find clusters of equal content within the image; undefined where nobody asked for it. */
  readonly twins: Twins | undefined;
  /** To find them anywhere in the parent. */
  readonly contents: Contents | undefined;
  readonly target: WritableStore;
  readonly placer: Placer;
  readonly level: number | undefined;
}

const scanStep = (image: Image, line: TakeLine, crew: stages.Crew): Step => {
  const { path, fd, size, seekable } = image;
  const digests = digestOptionsOf(line.target.facts);
  return stages.scan({ path, fd, size, seekable, digests, dependent: line.dependent }, crew);
};

export const takeLine = (line: TakeLine): Step[] => {
  const { image, twins, contents, codec, placer } = line;
  const { store, facts } = line.target;
  const crews = crewsFor(line);
  return [
    ...(image ? [scanStep(image, line, crews.scan)] : []),
    stages.dedup(digestOptionsOf(facts), crews.dedup),
    stages.pad(crews.pad),
    ...(twins ? [twinStep(twins, contents)] : []),
    ...(codec === 'none' ? [] : [stages.compress({ codec, level: line.level }, crews.compress)]),
    placeStep(placer, twins),
    stages.write(store.file.spec, crews.write),
  ];
};
