// Imports the modules of users, in whatever thread. They may import "nvsnap/stage" and "nvsnap/source" although they
// lie where Node does not find nvsnap: then it is told where to look, which costs each thread some 80 ms and 13 MB in old
// versions of Node, and is left out where nothing is imported but Node's own.

import fs from 'node:fs';
import nodeModule, { createRequire } from 'node:module';
import { fault, reasonOf } from '../../disk/index.js';
import { type ImportContext, resolveHere } from './resolve.js';

/** Node's module "module" from 22.15 on, where the thread that imports is asked itself. */
type WithHooks = typeof nodeModule & {
  registerHooks?(hooks: {
    resolve<T>(
      specifier: string,
      context: ImportContext,
      next: (specifier: string, context: ImportContext) => T,
    ): T;
  }): unknown;
};

/** True once this thread's imports are helped. */
let helped = false;

const help = (): void => {
  if (helped) return;
  helped = true;
  const { register, registerHooks } = nodeModule as WithHooks;
  const home = import.meta.url;
  if (registerHooks) registerHooks({ resolve: resolveHere(home) });
  else register('./resolve.js', home, { data: { home } });
};

const findsUs = (url: string): boolean => {
  try {
    createRequire(url).resolve('nvsnap/stage');
    return true;
  } catch {
    return false;
  }
};

/** An import of something that is not Node's own, as far as that can be seen in the text. */
const IMPORTS = /\b(?:from|import|require)\s*\(?\s*['"](?!node:)/;

const importsOthers = (url: string): boolean => IMPORTS.test(fs.readFileSync(new URL(url), 'utf8'));

/** Imports the module of a user at a file: URL. */
export const importModule = async (url: string): Promise<{ readonly default?: unknown }> => {
  if (!helped && !findsUs(url) && importsOthers(url)) help();
  return (await import(url)) as { readonly default?: unknown };
};

/** What is plugged in by its module. */
export type Plug = 'stage' | 'dirty source';

/** More of a name than a screen or a store has room for. */
const NAME = /^[a-z][a-z0-9-]{0,31}$/;

/** True for what a stage or a dirty source may be named. */
export const isPlugName = (name: unknown): name is string =>
  typeof name === 'string' && NAME.test(name);

/** What is wrong with any other name, as the end of a sentence. */
export const BAD_NAME = 'its name is not of 1 to 32 lower-case letters, digits and hyphens';

/** Refuses a module; `problem` is the end of a sentence. */
export const refuseModule = (
  plug: Plug,
  module: string,
  problem: string,
  advice: string,
  cause?: unknown,
): never => {
  throw fault(
    'usage',
    { problem: `The ${plug} ${module} cannot be used: ${problem}.`, advice },
    cause,
  );
};

/** The default export of a user's module, an object; a Fault says why there is none. */
export const importDefault = async (plug: Plug, module: string, url: string): Promise<object> => {
  const refuse = (problem: string, advice: string, cause?: unknown): never =>
    refuseModule(plug, module, problem, advice, cause);
  let loaded: { readonly default?: unknown };
  try {
    loaded = await importModule(url);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      return refuse(
        `Node ${process.versions.node} does not run this kind of file`,
        'Compile it to JavaScript, or use Node 22.18 or later for TypeScript.',
        error,
      );
    }
    return refuse(
      reasonOf(error).replace(/\.$/, ''),
      'Mend the module; --debug shows where.',
      error,
    );
  }
  const { default: definition } = loaded;
  if (typeof definition === 'object' && definition !== null) return definition;
  const word = plug === 'stage' ? 'stage({ name, open })' : 'source({ name, open })';
  return refuse('its module has no default export', `Export default ${word}.`);
};
