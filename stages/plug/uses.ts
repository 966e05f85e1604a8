// Users' stages as the engine gets them: each in a pool of its own, or, while they are light, in the threads of the
// stage before them.

import { availableParallelism } from 'node:os';
import type { DigestOptions } from '../../disk/index.js';
import {
  type Batch,
  Kind,
  type KindName,
  type StageUse,
  USUAL_PATIENCE,
} from '../../pipeline/index.js';
import type { GroupOptions } from '../group.js';
import type { HostOptions } from '../host.js';
import { moduleOf } from '../module.js';
import { takesOf } from './fit.js';
import type { LoadedStage } from './load.js';

/** A user's stage in its place. */
export interface PlacedUse extends StageUse {
  /** True when it may share the threads of the stage before it. */
  readonly light: boolean;
}

/** Only a batch with something to take goes through a stage. */
const wantsOf = (takes: readonly KindName[]) => {
  const kinds = takes.map((kind) => Kind[kind]);
  return (batch: Batch): boolean => kinds.some((kind) => batch.has(kind));
};

export const patienceOf = ({ definition: { patience = USUAL_PATIENCE } }: LoadedStage): number =>
  patience;

/** How digests are made, and how many threads a stage gets that can use so many. */
export type Crewing = readonly [DigestOptions, (name: string, most: number) => number];

/** A stage with its options. */
export interface Ready {
  readonly stage: LoadedStage;
  readonly options: unknown;
}

export const useOf = (
  { stage, options }: Ready,
  digests: DigestOptions,
  strict: boolean,
  threads: (name: string, most: number) => number,
): PlacedUse => {
  const { name, url, definition, request } = stage;
  const takes = takesOf(stage);
  const most = definition.threads ?? Number.POSITIVE_INFINITY;
  const host: HostOptions = {
    name,
    module: url,
    options,
    takes,
    makes: definition.makes ?? [],
    changes: definition.changes ?? false,
    digests,
    strict,
  };
  return {
    name,
    module: moduleOf('host'),
    options: host,
    threads: Math.min(
      most,
      request.threads ?? threads(name, Math.min(most, availableParallelism())),
    ),
    most: definition.threads,
    patience: patienceOf(stage),
    light: isLight(stage),
    wants: wantsOf(takes),
  };
};

/** Puts light stages into the threads of the one before them. */
export const grouped = (host: StageUse, light: readonly StageUse[]): StageUse => {
  if (light.length === 0) return host;
  const { beginsHere: _, ...rest } = host;
  const members = [host, ...light].map(({ name, module, options }) => ({ name, module, options }));
  const options: GroupOptions = { members };
  const patience = light.reduce((sum, use) => sum + (use.patience ?? 0), 0);
  const names = light.map(({ name }) => name).join(', ');
  const title = host.title ? `${names}, ${host.title}` : `${names} (in ${host.name})`;
  return { ...rest, title, module: moduleOf('group'), options, patience };
};

/** True when a stage may share the threads of the one before it. */
export const isLight = ({ definition: { light, threads }, request }: LoadedStage): boolean =>
  light === true && threads === undefined && request.threads === undefined;
