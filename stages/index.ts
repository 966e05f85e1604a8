// The door of stages/: the built-in stages, each as something a line can use. The modules themselves
// are loaded in the threads only.

import type { DigestOptions, FileSpec } from '../disk/index.js';
import type { Batch, StagePlace, StageUse } from '../pipeline/index.js';
import type { CompressOptions } from './compress.js';
import { type DecodeOptions, hasPayload } from './decode.js';
import { isUnchanged } from './dedup.js';
import type { DeliverOptions } from './deliver.js';
import { moduleOf } from './module.js';
import { needsPadding } from './pad.js';
import type { LinksOptions } from './plug/links.js';
import type { ScanOptions } from './scan.js';
import type { VerifyOptions } from './verify.js';
import { hasData } from './write.js';

export {
  type Codec,
  type CodecOptions,
  LEVELS,
  openCodec,
  type PackedCodec,
} from './codec/index.js';
export type { DeliverOptions, Manner } from './deliver.js';
export {
  type BuiltInStage,
  describeBuiltIn,
  describeModule,
  describeStage,
  type StageDescription,
} from './plug/catalogue.js';
export type { StageSummary } from './plug/figures.js';
export {
  findModule,
  isPath,
  packagesNamed,
  SOURCE_PREFIX,
  STAGE_PREFIX,
} from './plug/find.js';
export type { ChainLink, LineSetting } from './plug/fit.js';
export { BAD_NAME, importDefault, isPlugName, refuseModule } from './plug/import.js';
export { type LineUp, lineUp } from './plug/line-up.js';
export { findStage, type LoadedStage, loadStages } from './plug/load.js';
export { optionsIn, requestOf, type StageRequest, use } from './plug/request.js';
export { grouped, isLight, type PlacedUse } from './plug/uses.js';
export type { LinksOptions };

/** The threads of a stage. */
export interface Crew {
  readonly threads: number;
  /** True to start them at once, since they are sure to pay. */
  readonly early: boolean;
}

/** The place of a built-in stage in a line. */
export const place = (name: string, threads: number): StagePlace => ({
  name,
  module: moduleOf(name),
  threads,
});

/** A built-in stage: on the main thread until threads pay. */
const builtIn = (name: string, options: unknown, { threads, early }: Crew): StageUse => ({
  ...place(name, threads),
  options,
  early,
  beginsHere: true,
});

export const scan = (options: ScanOptions, crew: Crew): StageUse => ({
  ...builtIn('scan', options, crew),
  // A pipe may keep its reader waiting for ever.
  beginsHere: options.seekable,
});

/** `drops`: asked for every batch, in image order; true when it is not wanted any more. */
export const dedup = (
  options: DigestOptions,
  crew: Crew,
  drops?: (batch: Batch) => boolean,
): StageUse => ({
  ...builtIn('dedup', options, crew),
  ends: drops ? (batch) => drops(batch) || isUnchanged(batch) : isUnchanged,
});

export const pad = (crew: Crew): StageUse => ({
  ...builtIn('pad', {}, crew),
  wants: needsPadding,
});

/** What users' code asks for that runs in a stage of the engine's. */
export interface Shared {
  /** The stages that are run. */
  readonly links?: LinksOptions | undefined;
  /** Seconds that a batch may be with it. */
  readonly patience?: number | undefined;
  /** Most threads. */
  readonly most?: number | undefined;
}

/** A stage through which reversible ones work is not the engine's alone. */
const shared = (
  name: string,
  { links, patience, most = Number.POSITIVE_INFINITY }: Shared,
  { threads }: Crew,
): Partial<StageUse> => {
  if (!links) return {};
  const names = links.links.map((link) => link.name).join(', ');
  const title = `${names} (in ${name})`;
  return { title, patience, beginsHere: false, most, threads: Math.min(threads, most) };
};

export const compress = (options: CompressOptions & Shared, crew: Crew): StageUse => ({
  ...builtIn('compress', options, crew),
  ...shared('compress', options, crew),
  wants: hasData,
});

export const write = (store: FileSpec, crew: Crew): StageUse => ({
  ...builtIn('write', store, crew),
  wants: hasData,
});

export const fetch = (store: FileSpec, crew: Crew): StageUse => builtIn('fetch', store, crew);

export const decode = (options: DecodeOptions & Shared, crew: Crew): StageUse => ({
  ...builtIn('decode', options, crew),
  ...shared('decode', options, crew),
  wants: hasPayload,
});

export const verify = (options: VerifyOptions, crew: Crew): StageUse => ({
  ...builtIn('verify', options, crew),
  // What decode has digested and is as recorded needs no hop; everything else is looked at.
  wants: (batch) => !batch.unproven && !isUnchanged(batch),
});

export const deliver = (options: DeliverOptions, crew: Crew): StageUse => ({
  ...builtIn('deliver', options, crew),
  // A reader may keep a pipe waiting for ever.
  beginsHere: options.manner !== 'stream',
});
