// stages: what there is to plug in. Ours in the lines in which they stand, and the packages that are found.

import { Fault } from '../disk/index.js';
import {
  type BuiltInStage,
  describeBuiltIn,
  describeModule,
  describeStage,
  packagesNamed,
  requestOf,
  SOURCE_PREFIX,
  STAGE_PREFIX,
  type StageDescription,
} from '../stages/index.js';
import { importSource } from './sources.js';
import { TAKE_STAGES } from './take.js';

/** What a package holds; `problem` where it cannot be used. */
export type Packaged<T> = {
  /** Name and version of the package. */
  readonly package: string;
  readonly packageVersion: string | null;
} & (
  | { readonly found: T; readonly problem: null }
  | { readonly found: null; readonly problem: string }
);

/** A dirty source of a user's. */
export interface SourceDescription {
  readonly name: string;
  readonly summary: string;
  readonly options: Readonly<Record<string, string>>;
}

/** All that is found. */
export interface StageList {
  /** Ours, in the order in which a batch goes through them. */
  readonly lines: {
    readonly take: readonly BuiltInStage[];
    readonly restore: readonly BuiltInStage[];
  };
  /** Packages "nvsnap-stage-…". */
  readonly stages: readonly Packaged<StageDescription>[];
  /** Packages "nvsnap-source-…". */
  readonly sources: readonly Packaged<SourceDescription>[];
}

const RESTORE_LINE = ['fetch', 'decode', 'verify', 'deliver'];

const packaged = <T>(
  prefix: string,
  folder: string,
  load: (module: string, url: string) => Promise<T>,
): Promise<Packaged<T>[]> =>
  Promise.all(
    packagesNamed(prefix, folder).map(async ({ name, version, url }): Promise<Packaged<T>> => {
      const known = { package: name, packageVersion: version ?? null };
      try {
        return { ...known, found: await load(name, url), problem: null };
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        return { ...known, found: null, problem: error.message };
      }
    }),
  );

const describeSource = async (module: string, url: string): Promise<SourceDescription> => {
  const { name, summary = '', usage = {} } = await importSource(module, url);
  return { name, summary, options: usage };
};

/** Lists our stages, and the packages of stages and sources found from `folder` (default: the working directory). */
export const stages = async ({
  folder = process.cwd(),
}: {
  readonly folder?: string | undefined;
} = {}): Promise<StageList> => ({
  lines: {
    take: await Promise.all(TAKE_STAGES.map(describeBuiltIn)),
    restore: await Promise.all(RESTORE_LINE.map(describeBuiltIn)),
  },
  stages: await packaged(STAGE_PREFIX, folder, describeModule),
  sources: await packaged(SOURCE_PREFIX, folder, describeSource),
});

/** What one stage says of itself: "./mask.js", or the name of a package. Rejects with a Fault when there is none. */
export const stageInfo = (stage: string): Promise<StageDescription> =>
  describeStage(requestOf(stage));
