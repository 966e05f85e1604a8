// Where the code of users is: stages, and dirty sources.

import fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** What packages of stages are named, and those of dirty sources. */
export const STAGE_PREFIX = 'nvsnap-stage-';
export const SOURCE_PREFIX = 'nvsnap-source-';

/** The folders in which packages are looked for, from `folder` upwards, then beside this program. */
export const packageFolders = (folder: string): string[] => {
  const found: string[] = [];
  for (const start of [folder, dirname(fileURLToPath(import.meta.url))]) {
    for (let at = resolve(start); ; at = dirname(at)) {
      const modules = join(at, 'node_modules');
      if (!found.includes(modules) && fs.existsSync(modules)) found.push(modules);
      // Installed for all users, this program lies in such a folder itself.
      if (at.endsWith('/node_modules') && !found.includes(at)) found.push(at);
      if (at === dirname(at)) break;
    }
  }
  return found;
};

/** Under which name an import finds something in "exports" (Node's documentation, "Conditional exports"). */
const CONDITIONS = ['import', 'node', 'default'];

const entryOf = (exported: unknown): string | undefined => {
  if (typeof exported === 'string') return exported;
  if (typeof exported !== 'object' || exported === null) return undefined;
  const fields = exported as Readonly<Record<string, unknown>>;
  if ('.' in fields) return entryOf(fields['.']);
  for (const condition of CONDITIONS) {
    const entry = entryOf(fields[condition]);
    if (entry) return entry;
  }
  return undefined;
};

/** What is of use in a package.json; nothing in one that cannot be read. */
export const packageFile = (
  file: string,
): { readonly version?: string; readonly exports?: unknown; readonly main?: string } => {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as object;
  } catch {
    return {};
  }
};

/** The file that an import of the package in `folder` gets. */
const packageEntry = (folder: string): string | undefined => {
  const file = join(folder, 'package.json');
  if (!fs.existsSync(file)) return undefined;
  const { exports, main } = packageFile(file);
  return join(folder, entryOf(exports) ?? main ?? 'index.js');
};

/** True for what names a file, and not a package. */
export const isPath = (module: string): boolean => /^(?:file:|[./])/.test(module);

/**
 * The URL of the module that `module` names: a path counts from `folder`, a bare name is that of a package, with
 * `prefix` before it or without. Undefined when there is none.
 */
export const findModule = (module: string, folder: string, prefix: string): string | undefined => {
  if (module.startsWith('file:')) return fs.existsSync(new URL(module)) ? module : undefined;
  if (isPath(module)) {
    const path = resolve(folder, module);
    return fs.statSync(path, { throwIfNoEntry: false })?.isFile()
      ? pathToFileURL(path).href
      : undefined;
  }
  for (const name of [`${prefix}${module}`, module]) {
    for (const modules of packageFolders(folder)) {
      const entry = packageEntry(join(modules, name));
      if (entry) return pathToFileURL(entry).href;
    }
  }
  return undefined;
};

/** A package that is installed. */
export interface FoundPackage {
  readonly name: string;
  readonly version: string | undefined;
  /** URL of what an import of it gets. */
  readonly url: string;
}

/** The packages whose names begin with `prefix`, by name: of two of one name the one that an import gets. */
export const packagesNamed = (prefix: string, folder: string): FoundPackage[] => {
  const found = new Map<string, FoundPackage>();
  for (const modules of packageFolders(folder)) {
    for (const name of fs.readdirSync(modules)) {
      if (!name.startsWith(prefix) || found.has(name)) continue;
      const at = join(modules, name);
      const entry = packageEntry(at);
      if (entry === undefined) continue;
      const { version } = packageFile(join(at, 'package.json'));
      found.set(name, { name, version, url: pathToFileURL(entry).href });
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
};
