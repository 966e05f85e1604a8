// What stages say of themselves, for people who look for one.

import { type Gap, type KindName, type Stage, USUAL_PATIENCE } from '../../pipeline/index.js';
import { moduleOf } from '../module.js';
import { findStage, importStage, kindsTaken, placesOf } from './load.js';
import type { StageRequest } from './request.js';

/** One of ours, in a line of ours. */
export interface BuiltInStage {
  readonly name: string;
  readonly summary: string;
}

/** A stage of a user's, as it declares itself. */
export interface StageDescription {
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  /** An observer changes nothing; a filter bytes or kinds of clusters; a reversible one what is stored. */
  readonly kind: 'observer' | 'filter' | 'reversible';
  /** Where it may stand, its usual place first. */
  readonly places: readonly Gap[];
  /** The kinds of cluster that it deals with, and that it may make of them. */
  readonly takes: readonly KindName[];
  readonly makes: readonly KindName[];
  /** What each option means, by its name. */
  readonly options: Readonly<Record<string, string>>;
  /** Most threads; null for any number. */
  readonly threads: number | null;
  /** True when it may share the threads of the stage before it. */
  readonly light: boolean;
  /** Seconds after which a batch counts as stuck. */
  readonly patience: number;
}

/** Describes one of our stages. */
export const describeBuiltIn = async (name: string): Promise<BuiltInStage> => {
  const { default: stage } = (await import(moduleOf(name))) as { readonly default: Stage };
  return { name, summary: stage.summary ?? '' };
};

const kindOf = ({ reversible, changes, makes }: Stage): StageDescription['kind'] => {
  if (reversible) return 'reversible';
  return changes || makes?.length ? 'filter' : 'observer';
};

const describe = (stage: Stage): StageDescription => ({
  name: stage.name,
  version: stage.version ?? '1',
  summary: stage.summary ?? '',
  kind: kindOf(stage),
  places: placesOf(stage),
  takes: kindsTaken(stage),
  makes: stage.makes ?? [],
  options: stage.usage ?? {},
  threads: stage.threads ?? null,
  light: stage.light ?? false,
  patience: stage.patience ?? USUAL_PATIENCE,
});

/** Describes the stage in the module at `url`; `module` names it in a Fault. */
export const describeModule = async (module: string, url: string): Promise<StageDescription> =>
  describe(await importStage(module, url));

/** Finds the stage that is asked for, and describes it. */
export const describeStage = (request: StageRequest): Promise<StageDescription> =>
  describeModule(request.module, findStage(request));
