// Users' stages on their places in the line: whether they fit, what their options are, and what a store keeps of those
// that are reversible.

import { availableParallelism } from 'node:os';
import { Fault, fault, reasonOf } from '../../disk/index.js';
import {
  type Batch,
  type Gap,
  Kind,
  type KindName,
  type Setting,
  type StageReport,
  type StageUse,
} from '../../pipeline/index.js';
import type { DigestOptions } from '../fingerprint.js';
import type { HostOptions } from '../host.js';
import { moduleOf } from '../module.js';
import { growthOf, type LinkPart, type LinksOptions, type LinkUse, MOST_LINKS } from './links.js';
import { DEFAULT_PATIENCE, kindsTaken, type LoadedStage } from './load.js';
import { folderOf } from './request.js';

/** A reversible stage as a store names it. */
export interface ChainLink {
  readonly name: string;
  readonly version: string;
  /** Where its code came from, for people. */
  readonly module: string;
  /** What its `keeps` gave. */
  readonly kept: unknown;
  /** True when the store's digests have their key from it. */
  readonly keyed: boolean;
}

/** What the stages are lined up for. */
export interface LineSetting extends Omit<Setting, 'kept' | 'folder'> {
  /** Path of the store, for faults. */
  readonly path: string;
  /** The store's reversible stages; undefined for a new one. */
  readonly chain: readonly ChainLink[] | undefined;
  /** The name of the store's codec. */
  readonly codec: string;
  /** True to lend copies only, and to check everything. */
  readonly strict: boolean;
}

/** What a stage found out. */
export interface StageSummary {
  readonly stage: string;
  readonly at: Gap;
  /** Figures and words by name. */
  readonly figures: Readonly<Record<string, string | number>>;
}

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
  /** The stages at one place. */
  usesAt(gap: Gap, ...crewing: Crewing): StageUse[];
  /** Those of them that change content. */
  filters(...crewing: Crewing): StageUse[];
  /** What they have found out. */
  conclude(reports: readonly StageReport[]): StageSummary[];
}

const misfit = (problem: string, advice: string): Fault => fault('usage', { problem, advice });

const takesOf = ({ definition }: LoadedStage): readonly KindName[] => kindsTaken(definition);

/** The kinds that come by at a place. */
const kindsAt = (gap: Gap, packed: boolean): readonly KindName[] => {
  if (gap === 'before:dedup') return ['plain'];
  if (gap === 'before:pad' || gap === 'before:compress') return ['plain', 'zero', 'same'];
  return ['plain', 'zero', 'same', 'twin', ...(packed ? (['packed'] as const) : [])];
};

/** Refuses a stage where it can do nothing, or nothing right. */
const checkFit = (stage: LoadedStage, codec: string, packed: boolean): void => {
  const { name, at, definition } = stage;
  const takes = takesOf(stage);
  const come = kindsAt(at, packed);
  if (!takes.some((kind) => come.includes(kind))) {
    const maker = takes.includes('packed') ? 'compress' : 'dedup';
    throw misfit(
      `The stages ${name} and ${maker} do not fit: ${name} takes ${takes.join(' and ')} clusters, and none come ${at}.`,
      takes.includes('packed') && codec === 'none'
        ? 'A store without compression has no packed clusters.'
        : `Let it stand after ${maker}, as in ${name}@after:${maker}.`,
    );
  }
  if (definition.changes && at !== 'before:dedup') {
    throw misfit(
      `The stages dedup and ${name} do not fit: ${name} changes content, of which dedup takes the digests before it.`,
      `Let it stand there, as in ${name}@before:dedup.`,
    );
  }
  if (definition.makes?.length && at !== 'before:pad' && at !== 'before:compress') {
    const other = at === 'before:dedup' ? 'dedup' : 'compress';
    throw misfit(
      `The stages ${name} and ${other} do not fit: ${name} makes ${definition.makes.join(' and ')} clusters, which ${other === 'dedup' ? 'dedup decides again' : 'are encoded already'} ${at}.`,
      `Let it stand after dedup, as in ${name}@after:dedup.`,
    );
  }
};

/** Refuses a chain in which a link never gets what it takes. */
const checkLinks = (
  links: readonly LoadedStage[],
  codec: string,
  growth: number,
  clusterSize: number,
): void => {
  let before = codec === 'none' ? undefined : `compress (${codec})`;
  for (const link of links) {
    if (before && !takesOf(link).includes('packed')) {
      throw misfit(
        `The stages ${before} and ${link.name} do not fit: ${link.name} takes plain clusters, and ${before} makes them packed.`,
        before.startsWith('compress')
          ? 'Make the store with --compression none.'
          : `Let ${link.name} come first.`,
      );
    }
    before = link.name;
  }
  // A descriptor counts at most two clusters of sectors, of which the first may be cut.
  if (links.length > MOST_LINKS || (links.length > 0 && growth > clusterSize - 512)) {
    throw misfit(
      'There are too many reversible stages for one store.',
      `Give at most ${MOST_LINKS}, or larger clusters.`,
    );
  }
};

/** Holds the reversible stages that were given against those that the store was written through. */
const checkChain = ({ path, chain }: LineSetting, links: readonly LoadedStage[]): void => {
  if (!chain) return;
  for (const [k, { name, version, module }] of chain.entries()) {
    const given = links[k];
    if (given?.definition.name !== name)
      throw fault('stage-missing', { path, stage: name, version, module });
    const has = given.definition.version ?? '1';
    if (has !== version)
      throw fault('stage-version', { path, stage: name, wrote: version, given: has });
  }
  const more = links[chain.length];
  if (more) throw fault('stage-foreign', { path, stage: more.name });
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
        problem: `The stage ${name} cannot be used: ${reasonOf(error).replace(/\.$/, '')}.`,
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

/** Only a batch with something to take goes through a stage. */
const wantsOf = (takes: readonly KindName[]) => {
  const kinds = takes.map((kind) => Kind[kind]);
  return (batch: Batch): boolean => kinds.some((kind) => batch.has(kind));
};

const patienceOf = ({ definition: { patience = DEFAULT_PATIENCE } }: LoadedStage): number =>
  patience;

/** How digests are made, and how many threads a stage gets that can use so many. */
type Crewing = readonly [DigestOptions, (name: string, most: number) => number];

/** A stage with its options. */
interface Ready {
  readonly stage: LoadedStage;
  readonly options: unknown;
}

const useOf = (
  { stage, options }: Ready,
  digests: DigestOptions,
  strict: boolean,
  threads: (name: string, most: number) => number,
): StageUse => {
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
    patience: patienceOf(stage),
    wants: wantsOf(takes),
  };
};

/** What the threads of a stage said, summed up by itself. */
const figuresOf = (
  { name, definition }: LoadedStage,
  parts: readonly unknown[],
): StageSummary['figures'] => {
  try {
    return definition.conclude?.(parts) ?? {};
  } catch (error) {
    throw fault('stage-failed', { stage: name, offset: 0, reason: reasonOf(error) }, error);
  }
};

const linkFigures = (stage: LoadedStage, parts: readonly LinkPart[]): StageSummary['figures'] => {
  const sum = (of: (totals: LinkPart['encode']) => number): number =>
    parts.reduce((all, { encode }) => all + of(encode), 0);
  return {
    'bytes in': sum(({ bytesIn }) => bytesIn),
    'bytes out': sum(({ bytesOut }) => bytesOut),
    milliseconds: Math.round(sum(({ micros }) => micros) / 1000),
    ...figuresOf(
      stage,
      parts.map(({ part }) => part).filter((part) => part !== undefined),
    ),
  };
};

const byStage = (reports: readonly StageReport[], name: string): readonly unknown[] =>
  reports.find(({ stage }) => stage === name)?.parts ?? [];

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
  const uses = (chosen: (stage: LoadedStage) => boolean, [digests, threads]: Crewing): StageUse[] =>
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
    usesAt: (gap: Gap, ...rest: Crewing) => uses(({ at }) => at === gap, rest),
    filters: (...rest: Crewing) => uses(({ definition }) => definition.changes === true, rest),
    conclude: (reports: readonly StageReport[]) => [
      ...others.map((stage) => ({
        stage: stage.name,
        at: stage.at,
        figures: figuresOf(stage, byStage(reports, stage.name)),
      })),
      ...reversible.map((stage) => {
        const parts = [
          ...byStage(reports, 'compress'),
          ...byStage(reports, 'decode'),
        ].flat() as LinkPart[];
        return {
          stage: stage.name,
          at: stage.at,
          figures: linkFigures(
            stage,
            parts.filter(({ name }) => name === stage.name),
          ),
        };
      }),
    ],
  });
};
