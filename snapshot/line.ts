// The line of stages of a take, as one sentence.

import type { Batch, Gap, Pools, StageUse, Step } from '../pipeline/index.js';
import type { CodecName, Placer } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import type { Contents } from './contents.js';
import type { Image } from './image.js';
import { placeStep, twinStep } from './placing.js';
import { isLarge, planCrews, type Threads } from './plan.js';
import { digestOptionsOf, linksOf } from './plugged.js';
import type { WritableStore } from './store.js';
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
  const { mostlySame, bytes } = work;
  const large = isLarge(bytes, mostlySame ? 'reading' : 'storing');
  const crew = planCrews(work.threads, work.batches, large);
  const coders = planCrews(work.threads, work.batches, isLarge(bytes, 'coding'));
  const plain = work.codec === 'none';
  // Where most is to be stored, one reader keeps all compressors busy, or the one writer that a file can have at a time.
  const scan = crew('scan', mostlySame ? ALL : 1, true);
  return {
    scan: work.seekable ? scan : { ...scan, threads: 1 },
    dedup: crew('dedup', 1, false),
    pad: crew('pad', 1, false),
    compress: coders('compress', ALL, !mostlySame && !plain),
    write: crew('write', 1, !mostlySame),
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
  /** Which batches are not wanted any more; undefined: all are wanted. */
  readonly drops?: ((batch: Batch) => boolean) | undefined;
}

const scanStep = (image: Image, line: TakeLine, crew: stages.Crew): StageUse => {
  const { path, fd, size, seekable } = image;
  const { readsAll, changes } = line.target.line;
  // What a user's stage changes is digested afterwards, and what it is to see must be there.
  const digests = changes ? undefined : digestOptionsOf(line.target.store);
  return stages.scan(
    { path, fd, size, seekable, digests, dependent: line.dependent && !readsAll },
    crew,
  );
};

/** A built-in stage and the users' that stand behind it: the first of them share its threads while they are light. */
const withUsers = (builtIn: StageUse, users: readonly stages.PlacedUse[]): Step[] => {
  // Who may have to wait for a pipe may take as long as that takes.
  const alone = builtIn.beginsHere === false && builtIn.name === 'scan';
  const heavy = alone ? 0 : users.findIndex(({ light }) => !light);
  const light = heavy < 0 ? users.length : heavy;
  return [stages.grouped(builtIn, users.slice(0, light)), ...users.slice(light)];
};

export const takeLine = (line: TakeLine): Step[] => {
  const { image, twins, contents, codec, placer, target } = line;
  const { store } = target;
  const crews = crewsFor(line);
  const digests = digestOptionsOf(store);
  const crew = planCrews(line.threads, line.batches, false);
  const users = (gap: Gap): stages.PlacedUse[] =>
    target.line.usesAt(gap, digests, (name, most) => crew(name, most, false).threads);
  const linked = linksOf(store);
  const compress = stages.compress({ codec, level: line.level, ...linked }, crews.compress);
  const plain = codec === 'none' && !linked.links;
  return [
    ...(image ? withUsers(scanStep(image, line, crews.scan), users('before:dedup')) : []),
    stages.dedup(digests, crews.dedup, line.drops),
    ...users('before:pad'),
    stages.pad(crews.pad),
    ...users('before:compress'),
    ...(twins ? [twinStep(twins, contents)] : []),
    ...(plain ? users('before:write') : withUsers(compress, users('before:write'))),
    placeStep(placer, twins),
    ...withUsers(stages.write(store.file.spec, crews.write), users('after:write')),
  ];
};
