// Whether users' stages fit where they are to stand, each other, and the store. Who do not are named, both of them.

import { type Fault, fault } from '../../disk/index.js';
import type { Gap, KindName, Setting } from '../../pipeline/index.js';
import { MOST_LINKS } from './links.js';
import type { LoadedStage } from './load.js';

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
export interface LineSetting extends Omit<Setting, 'kept'> {
  /** Path of the store, for faults. */
  readonly path: string;
  /** The store's reversible stages; undefined for a new one. */
  readonly chain: readonly ChainLink[] | undefined;
  /** The name of the store's codec. */
  readonly codec: string;
  /** True to lend copies only, and to check everything. */
  readonly strict: boolean;
}

export const misfit = (problem: string, advice: string): Fault =>
  fault('usage', { problem, advice });

export const takesOf = ({ definition: { takes, reversible } }: LoadedStage): readonly KindName[] =>
  takes ?? (reversible ? ['plain', 'packed'] : ['plain']);

/** The kinds that come by at a place. */
const kindsAt = (gap: Gap, packed: boolean): readonly KindName[] => {
  if (gap === 'before:dedup') return ['plain'];
  if (gap === 'before:pad' || gap === 'before:compress') return ['plain', 'zero', 'same'];
  return ['plain', 'zero', 'same', 'twin', ...(packed ? (['packed'] as const) : [])];
};

/** Refuses a stage where it can do nothing, or nothing right. */
export const checkFit = (stage: LoadedStage, codec: string, packed: boolean): void => {
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
export const checkLinks = (
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
export const checkChain = (
  { path, chain }: Pick<LineSetting, 'path' | 'chain'>,
  links: readonly LoadedStage[],
): void => {
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
