// Users' stages on their places in the line: whether they fit, what their options are, and what a store keeps of those
// that are reversible.

import { Fault, fault, reasonOf } from '../../disk/index.js';
import type { Gap, Setting, StageReport } from '../../pipeline/index.js';
import { concludeAll, type StageSummary } from './figures.js';
import {
  type ChainLink,
  checkChain,
  checkFit,
  checkLinks,
  type LineSetting,
  misfit,
  takesOf,
} from './fit.js';
import type { LinkUse } from './link.js';
import { growthOf, type LinksOptions } from './links.js';
import type { LoadedStage } from './load.js';
import { folderOf } from './request.js';
import { type Crewing, type PlacedUse, patienceOf, type Ready, useOf } from './uses.js';

/** Stages in their places, with options. */
export interface LineUp {
  readonly chain: readonly ChainLink[];
  /** Undefined when there are none. */
  readonly links: LinksOptions | undefined;
  /** Bytes that a payload may have more than a cluster. */
  readonly growth: number;
  readonly digestKey: Uint8Array | undefined;
  /** The names of the stages that have threads of their own. */
  readonly names: readonly string[];
  /** True when someone before dedup has to see all bytes that are read. */
  readonly readsAll: boolean;
  /** True when someone changes what the image holds. */
  readonly changes: boolean;
  /** Most seconds that a batch may be with compress or decode. */
  readonly patience: number | undefined;
  /** Most threads in which compress or decode may work. */
  readonly most: number | undefined;
  /** The stages at one place. */
  usesAt(gap: Gap, ...crewing: Crewing): PlacedUse[];
  /** Those of them that change content. */
  filters(...crewing: Crewing): PlacedUse[];
  /** What they have found out. */
  conclude(reports: readonly StageReport[]): StageSummary[];
}

/** Why a stage did not take its options; of a file that it could not read, which one. */
const refusalOf = (error: unknown): string => {
  const reason = reasonOf(error).replace(/\.$/, '');
  return error instanceof Error && 'path' in error ? `${error.path}: ${reason}` : reason;
};

/** Asks a stage on the main thread; what it throws becomes a Fault. */
const asking = async <T>({ request, name }: LoadedStage, ask: () => T | Promise<T>): Promise<T> => {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw fault(
      'usage',
      {
        problem: `The stage ${name} cannot be used: ${refusalOf(error)}.`,
        advice: `"nvsnap stages ${request.module}" tells its options.`,
      },
      error,
    );
  }
};

const parse = async (stage: LoadedStage, setting: Omit<Setting, 'folder'>): Promise<unknown> => {
  const { request, definition, name } = stage;
  const folder = folderOf(request);
  if (definition.parse)
    return asking(stage, () => definition.parse?.(request.options, { ...setting, folder }));
  const [option] = Object.keys(request.options);
  if (option === undefined) return {};
  throw misfit(
    `The stage ${name} has no option ${JSON.stringify(option)}.`,
    `"nvsnap stages ${request.module}" tells its options.`,
  );
};

/** The least of the limits that there are. */
const leastOf = (limits: readonly (number | undefined)[]): number | undefined => {
  const given = limits.filter((limit) => limit !== undefined);
  return given.length > 0 ? Math.min(...given) : undefined;
};

const DIGEST_KEY_BYTES = 32;

const digestKeyOf = async (
  stage: LoadedStage,
  options: unknown,
): Promise<Uint8Array | undefined> => {
  const { name, definition } = stage;
  const key = await asking(stage, () => definition.reversible?.digestKey?.(options));
  if (key === undefined || (key instanceof Uint8Array && key.length === DIGEST_KEY_BYTES))
    return key;
  throw misfit(
    `The stage ${name} gives no digest key of ${DIGEST_KEY_BYTES} bytes.`,
    'Mend the module; docs/stages.md has the contract.',
  );
};

/** What the store keeps of the options, as it will be read again. */
const keptOf = (stage: LoadedStage, options: unknown): Promise<unknown> =>
  asking(stage, () => {
    const kept = stage.definition.reversible?.keeps?.(options) ?? null;
    return JSON.parse(JSON.stringify(kept) ?? 'null') as unknown;
  });

/** Puts the stages in their places. Rejects with a Fault that says which do not fit, and why. */
export const lineUp = async (
  loaded: readonly LoadedStage[],
  setting: LineSetting,
): Promise<LineUp> => {
  const { codec, clusterSize, store, chain, strict } = setting;
  const reversible = loaded.filter(({ definition }) => definition.reversible);
  const others = loaded.filter(({ definition }) => !definition.reversible);
  checkChain(setting, reversible);
  const growth = growthOf(
    reversible.map(({ definition }) => ({ growth: definition.reversible?.growth ?? 0 })),
  );
  checkLinks(reversible, codec, growth, clusterSize);
  for (const stage of others) checkFit(stage, codec, codec !== 'none' || reversible.length > 0);
  const ready: Ready[] = [];
  for (const stage of others) {
    ready.push({ stage, options: await parse(stage, { store, clusterSize, kept: undefined }) });
  }
  const links: LinkUse[] = [];
  const made: ChainLink[] = [];
  let digestKey: Uint8Array | undefined;
  for (const [k, stage] of reversible.entries()) {
    const { definition, name, url, module } = stage;
    const options = await parse(stage, { store, clusterSize, kept: chain?.[k]?.kept });
    const takes = takesOf(stage);
    const key = await digestKeyOf(stage, options);
    digestKey ??= key;
    made.push({
      name: definition.name,
      version: definition.version ?? '1',
      module,
      kept: await keptOf(stage, options),
      keyed: key !== undefined && digestKey === key,
    });
    links.push({
      name,
      module: url,
      options,
      growth: definition.reversible?.growth ?? 0,
      takesPlain: takes.includes('plain'),
      takesPacked: takes.includes('packed'),
    });
  }
  const uses = (
    chosen: (stage: LoadedStage) => boolean,
    [digests, threads]: Crewing,
  ): PlacedUse[] =>
    ready
      .filter(({ stage }) => chosen(stage))
      .map((stage) => useOf(stage, digests, strict, threads));
  return Object.freeze({
    chain: chain ?? made,
    links: links.length > 0 ? { links, strict } : undefined,
    growth: links.length > 0 ? growth : 0,
    digestKey,
    names: others.map(({ name }) => name),
    readsAll: others.some(({ at }) => at === 'before:dedup'),
    changes: others.some(({ definition }) => definition.changes === true),
    patience: links.length > 0 ? Math.max(...reversible.map(patienceOf)) : undefined,
    most: leastOf(reversible.map(({ definition }) => definition.threads)),
    usesAt: (gap: Gap, ...rest: Crewing) => uses(({ at }) => at === gap, rest),
    filters: (...rest: Crewing) => uses(({ definition }) => definition.changes === true, rest),
    conclude: (reports: readonly StageReport[]) => concludeAll(loaded, reports),
  });
};
