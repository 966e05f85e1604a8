// Loads a user's stage on the main thread, and looks at what it declares before anything else happens.

import { basename } from 'node:path';
import { fault, reasonOf } from '../../disk/index.js';
import type { Gap, KindName, Stage } from '../../pipeline/index.js';
import { findStage } from './find.js';
import { gapOf, type StageRequest } from './request.js';

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
/** More of a name than a screen or a store has room for. */
const NAME = /^[a-z][a-z0-9-]{0,31}$/;
/** So many more bytes of a cluster nobody needs. */
const MOST_GROWTH = 1024;

/** What is wrong with a declaration, as the end of a sentence; undefined when nothing is. */
const problemOf = (definition: Stage): string | undefined => {
  const { name, version, open, at, takes, makes, changes, reversible, threads, patience } =
    definition;
  const isCount = (n: number | undefined): boolean =>
    n === undefined || (Number.isInteger(n) && n > 0);
  const isWhole = (n: number): boolean => Number.isInteger(n) && n >= 0 && n <= MOST_GROWTH;
  if (typeof name !== 'string' || !NAME.test(name))
    return 'its name is not of 1 to 32 lower-case letters, digits and hyphens';
  if (typeof open !== 'function') return 'it has no open';
  if (version !== undefined && !/^[\w.+-]{1,16}$/.test(version))
    return 'its version is not of 1 to 16 letters, digits, dots and hyphens';
  if (at?.some((gap) => gapOf(gap) === undefined) || at?.length === 0)
    return 'it wants to stand where no stage can';
  if (takes?.some((kind) => !KINDS.includes(kind)) || takes?.length === 0)
    return `it takes a kind of cluster that there is not (there are ${KINDS.join(', ')})`;
  if (makes?.some((kind) => kind !== 'zero' && kind !== 'same'))
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

const refuse = (module: string, problem: string, advice: string, cause?: unknown): never => {
  throw fault(
    'usage',
    { problem: `The stage ${module} cannot be used: ${problem}.`, advice },
    cause,
  );
};

const importStage = async (module: string, url: string): Promise<Stage> => {
  let loaded: { default?: Partial<Stage> };
  try {
    loaded = (await import(url)) as { default?: Partial<Stage> };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      const problem = `Node ${process.versions.node} does not run this kind of file`;
      return refuse(
        module,
        problem,
        'Compile it to JavaScript, or use Node 22.18 or later for TypeScript.',
        error,
      );
    }
    return refuse(module, reasonOf(error), 'Mend the module; --debug shows where.', error);
  }
  const { default: definition } = loaded;
  if (typeof definition !== 'object' || definition === null) {
    return refuse(
      module,
      'its module has no default export',
      'Export default stage({ name, open }).',
    );
  }
  const problem = problemOf(definition as Stage);
  if (problem) return refuse(module, problem, 'Mend the module; docs/stages.md has the contract.');
  return definition as Stage;
};

/** Where a stage is to stand. */
const placeOf = ({ module, at }: StageRequest, { name, at: allowed, reversible }: Stage): Gap => {
  const places = (reversible ? ['before:write'] : (allowed ?? ['before:compress'])).map(
    (place) => gapOf(place) as Gap,
  );
  const place = at === undefined ? places[0] : gapOf(at);
  if (place !== undefined && places.includes(place)) return place;
  return refuse(module, `${name} cannot stand ${at}`, `It may stand ${places.join(', ')}.`);
};

/** Finds and loads what was asked for, in that order; a relative path counts from `folder`. */
export const loadStages = async (
  requests: readonly StageRequest[],
  folder = process.cwd(),
): Promise<LoadedStage[]> => {
  const loaded: LoadedStage[] = [];
  for (const request of requests) {
    const { module } = request;
    const url = findStage(module, folder);
    if (url === undefined) {
      return refuse(
        module,
        'there is no such module',
        'Give its path as ./FILE, or install its package; "nvsnap stages" lists those found.',
      );
    }
    const definition = await importStage(module, url);
    const count = loaded.filter((other) => other.definition.name === definition.name).length;
    loaded.push({
      request,
      definition,
      name: count === 0 ? definition.name : `${definition.name}-${count + 1}`,
      url,
      module: /^(file:|[./])/.test(module) ? basename(module) : module,
      at: placeOf(request, definition),
    });
  }
  return loaded;
};
