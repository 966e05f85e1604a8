// Dirty sources as people name them: one of ours, as in "bitmap:/run/vm/dirty", or a module of their own, as in
// "./mine.js,key=value" or the name of a package, with or without its "nvsnap-source-".

import {
  type DirtySource,
  isBuiltIn,
  SOURCE_USAGES as OUR_USAGES,
  openSource,
  type Source,
} from '../dirty/index.js';
import { Fault, fault, reasonOf } from '../disk/index.js';
import {
  BAD_NAME,
  findModule,
  importDefault,
  isPath,
  isPlugName,
  optionsIn,
  refuseModule,
  SOURCE_PREFIX,
} from '../stages/index.js';

/** A dirty source that is asked for. */
export interface SourceRequest {
  /** As people write it. */
  readonly spec: string;
  /** Absolute path of the folder that relative paths count from. */
  readonly folder: string;
}

/** How each is written: "bitmap:FILE[,page=4096]". */
export const SOURCE_USAGES: readonly string[] = [...OUR_USAGES, './FILE.js[,KEY=VALUE…]'];

const refuse = (spec: string, problem: string): never => {
  throw fault('usage', {
    problem: `The dirty source ${JSON.stringify(spec)} ${problem}.`,
    advice: `Choose one of: ${SOURCE_USAGES.join('; ')}.`,
  });
};

/** What was written of a module. */
interface ModuleSpec {
  readonly module: string;
  readonly words: Readonly<Record<string, string>>;
}

const moduleIn = (spec: string): ModuleSpec => {
  const [module = '', ...pairs] = spec.split(',');
  if (module === '' || (!isPath(module) && module.includes(':')))
    return refuse(spec, 'is not known');
  const options = optionsIn(pairs);
  if (typeof options === 'string') return refuse(spec, options);
  return { module, words: options };
};

/** Throws a Fault when `spec` is not written as a dirty source is; whether its module is there is not looked at. */
export const checkSource = (spec: string): void => {
  if (isBuiltIn(spec)) openSource(spec);
  else moduleIn(spec);
};

/** The URL of a source's module; undefined for one of ours. Throws a Fault when there is none. */
export const findSource = ({ spec, folder }: SourceRequest): string | undefined => {
  if (isBuiltIn(spec)) return undefined;
  const { module } = moduleIn(spec);
  const url = findModule(module, folder, SOURCE_PREFIX);
  if (url !== undefined) return url;
  return isPath(module)
    ? refuseModule('dirty source', module, 'there is no such module', 'Check the path.')
    : refuse(spec, 'is not known');
};

/** What is wrong with a declaration, as the end of a sentence; undefined when nothing is. */
export const problemOfSource = ({ name, open }: Partial<Source>): string | undefined => {
  if (!isPlugName(name)) return BAD_NAME;
  return typeof open === 'function' ? undefined : 'it has no open';
};

/** Most bytes of a source's name in a snapshot's record. */
const MAX_NAME_BYTES = 100;

const isSource = (made: unknown): made is DirtySource => {
  const { name, certainty, begin } = (made ?? {}) as Partial<DirtySource>;
  return (
    typeof name === 'string' &&
    Buffer.byteLength(name) <= MAX_NAME_BYTES &&
    (certainty === 'exact' || certainty === 'superset') &&
    typeof begin === 'function'
  );
};

/** Imports the module of a source and looks at what it declares. */
export const importSource = async (module: string, url: string): Promise<Source> => {
  const definition = (await importDefault('dirty source', module, url)) as Source;
  const problem = problemOfSource(definition);
  if (problem === undefined) return definition;
  const advice = 'Mend the module; docs/dirty-sources.md has the contract.';
  return refuseModule('dirty source', module, problem, advice);
};

const openOwn = async (
  { name, usage = {}, open }: Source,
  words: ModuleSpec['words'],
  folder: string,
): Promise<DirtySource> => {
  const unsuitable = (problem: string, cause?: unknown): Fault =>
    fault('dirty-unsuitable', { source: name, problem }, cause);
  const unknown = Object.keys(words).find((word) => !Object.hasOwn(usage, word));
  if (unknown !== undefined) throw unsuitable(`it has no option ${JSON.stringify(unknown)}`);
  let made: DirtySource;
  try {
    made = await open(words, { folder });
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw unsuitable(reasonOf(error).replace(/\.$/, ''), error);
  }
  if (isSource(made)) return made;
  throw unsuitable('what its open returned is no source with name, certainty and begin');
};

/** The dirty source that is asked for, loaded and open. Rejects with a Fault when there is none. */
export const loadSource = async (asked: string | SourceRequest): Promise<DirtySource> => {
  const { spec, folder } = typeof asked === 'string' ? { spec: asked, folder: undefined } : asked;
  if (isBuiltIn(spec)) return openSource(spec, folder);
  const from = folder ?? process.cwd();
  const url = findSource({ spec, folder: from }) as string;
  const { module, words } = moduleIn(spec);
  return openOwn(await importSource(module, url), words, from);
};
