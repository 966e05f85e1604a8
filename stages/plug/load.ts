// Loads a user's stage on the main thread, and looks at what it declares before anything else happens.

import { basename } from 'node:path';
import type { Gap, KindName, Stage } from '../../pipeline/index.js';
import { findModule, isPath, STAGE_PREFIX } from './find.js';
import { BAD_NAME, importDefault, isPlugName, refuseModule } from './import.js';
import { folderOf, GAP_NAMES, gapOf, type StageRequest } from './request.js';

/** A stage that was asked for and found. */
export interface LoadedStage {
  readonly request: StageRequest;
  readonly definition: Stage;
  /** In its line: the same stage twice has two names. */
  readonly name: string;
  /** URL of its module. */
  readonly url: string;
  /** As a store is to name the module: without folders, which mean nothing elsewhere. */
  readonly module: string;
  readonly at: Gap;
}

const KINDS: readonly KindName[] = ['plain', 'packed', 'zero', 'same', 'twin'];
/** So many more bytes of a cluster nobody needs. */
const MOST_GROWTH = 1024;

/** The kinds of cluster that a stage deals with. */
export const kindsTaken = ({ takes, reversible }: Stage): readonly KindName[] =>
  takes ?? (reversible ? ['plain', 'packed'] : ['plain']);

const isText = (value: unknown): boolean => value === undefined || typeof value === 'string';

/** True for a list with something in it of which all is as it should be, and for none. */
const isListOf = <T>(value: readonly T[] | undefined, suits: (entry: T) => boolean): boolean =>
  value === undefined || (Array.isArray(value) && value.length > 0 && value.every(suits));

/** What is wrong with a declaration, as the end of a sentence; undefined when nothing is. */
const problemOf = (definition: Stage): string | undefined => {
  const { name, version, summary, usage, open, at, takes, makes, changes, reversible } = definition;
  const { threads, patience } = definition;
  const isCount = (n: number | undefined): boolean =>
    n === undefined || (Number.isInteger(n) && n > 0);
  const isWhole = (n: number): boolean => Number.isInteger(n) && n >= 0 && n <= MOST_GROWTH;
  if (!isPlugName(name)) return BAD_NAME;
  if (typeof open !== 'function') return 'it has no open';
  if (!isText(version) || (version !== undefined && !/^[\w.+-]{1,16}$/.test(version)))
    return 'its version is not a text of 1 to 16 letters, digits, dots and hyphens';
  if (!isText(summary) || !Object.values(usage ?? {}).every(isText))
    return 'its summary and usage are not text';
  if (!isListOf(at, (gap) => gapOf(gap) !== undefined))
    return `it wants to stand where no stage can (a list of ${GAP_NAMES.join(', ')})`;
  if (!isListOf(takes, (kind) => KINDS.includes(kind)))
    return `it takes a kind of cluster that there is not (a list of ${KINDS.join(', ')})`;
  if (makes?.length !== 0 && !isListOf(makes, (kind) => kind === 'zero' || kind === 'same'))
    return 'it may make only zero and same';
  if (!isCount(threads)) return 'its threads are not a whole number above 0';
  if (definition.light && threads !== undefined)
    return 'what is light has the threads of the stage before it';
  if (patience !== undefined && !(patience > 0)) return 'its patience is not above 0';
  if (reversible === undefined) return undefined;
  if (!isWhole(reversible.growth))
    return `its growth is not a whole number from 0 to ${MOST_GROWTH}`;
  if (changes || makes?.length) return 'what is reversible neither changes content nor makes kinds';
  return undefined;
};

const refuse = (module: string, problem: string, advice: string): never =>
  refuseModule('stage', module, problem, advice);

/** Loads the stage at `url`, and looks at what it declares. */
export const importStage = async (module: string, url: string): Promise<Stage> => {
  const definition = (await importDefault('stage', module, url)) as Stage;
  const problem = problemOf(definition);
  if (problem) return refuse(module, problem, 'Mend the module; docs/stages.md has the contract.');
  return definition;
};

/** Where a stage may stand, its usual place first. */
export const placesOf = ({ at, reversible }: Stage): readonly Gap[] =>
  (reversible ? ['before:write'] : (at ?? ['before:compress'])).map((place) => gapOf(place) as Gap);

/** Where a stage is to stand. */
const placeOf = ({ module, at }: StageRequest, definition: Stage): Gap => {
  const { name } = definition;
  const places = placesOf(definition);
  const place = at === undefined ? places[0] : gapOf(at);
  if (place !== undefined && places.includes(place)) return place;
  return refuse(module, `${name} cannot stand ${at}`, `It may stand ${places.join(', ')}.`);
};

/** The URL of the module that is asked for; throws a Fault when there is none. */
export const findStage = (request: StageRequest): string => {
  const { module } = request;
  return (
    findModule(module, folderOf(request), STAGE_PREFIX) ??
    refuse(
      module,
      'there is no such module',
      'Give its path as ./FILE, or install its package; "nvsnap stages" lists those found.',
    )
  );
};

/** Finds and loads what was asked for, in that order. */
export const loadStages = async (requests: readonly StageRequest[]): Promise<LoadedStage[]> => {
  const loaded: LoadedStage[] = [];
  for (const request of requests) {
    const { module } = request;
    const url = findStage(request);
    const definition = await importStage(module, url);
    const count = loaded.filter((other) => other.definition.name === definition.name).length;
    loaded.push({
      request,
      definition,
      name: count === 0 ? definition.name : `${definition.name}-${count + 1}`,
      url,
      module: isPath(module) ? basename(module) : module,
      at: placeOf(request, definition),
    });
  }
  return loaded;
};
