// Loads the files of the bundle with what V8 has compiled of them before: half of what the command needs to start is
// compiling (docs/decisions/0036). V8 refuses what another version of it has made, and compiles anew.
//
// This becomes dist/run/load.js, a CommonJS module, as all files there are. What is kept of NAME lies in compiled/NAME.bin:
// the digest of the source, the digest of what was compiled of it, and that.

import fs from 'node:fs';
import Module, { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { DIGEST_BYTES, shortHash } from '../disk/native.js';

/** Set to anything, a process keeps what it has compiled when it ends: scripts/record.ts does. */
export const RECORD = 'NVSNAP_RECORD_COMPILED';

const HERE = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const ours = /^\.\/(\w[\w.-]*\.js)$/;

const fileOf = (name: string): string => join(HERE, 'compiled', `${name}.bin`);

/**
 * What was compiled of this source; undefined when nothing is known of it. V8 has no checksum of its own, and would run
 * whatever it reads; of the source it compares the length only.
 */
const compiledOf = (name: string, source: Buffer): Buffer | undefined => {
  let kept: Buffer;
  try {
    kept = fs.readFileSync(fileOf(name));
  } catch {
    return undefined;
  }
  const code = kept.subarray(2 * DIGEST_BYTES);
  const expected = Buffer.concat([shortHash(source), shortHash(code)]);
  return kept.subarray(0, 2 * DIGEST_BYTES).equals(expected) ? code : undefined;
};

/** Keeps what was compiled of a file. */
const keep = (name: string, source: Buffer, script: vm.Script): void => {
  const code = script.createCachedData();
  fs.writeFileSync(fileOf(name), Buffer.concat([shortHash(source), shortHash(code), code]));
};

/** What is to be kept; undefined in a process that keeps nothing. */
const recorded: Parameters<typeof keep>[] | undefined =
  process.env[RECORD] === undefined ? undefined : [];
if (recorded) {
  process.on('exit', () => {
    for (const file of recorded) keep(...file);
  });
}

const WRAPPER = ['(function (exports, require, module, __filename, __dirname) { ', '\n})'] as const;
type Wrapped = (
  exports: unknown,
  require: (id: string) => unknown,
  module: Module,
  filename: string,
  folder: string,
) => void;

/** Loads a file of the bundle, as `require` does. */
export const load = (name: string): unknown => {
  const filename = join(HERE, name);
  const known = require.cache[filename];
  if (known) return known.exports;
  const source = fs.readFileSync(filename);
  const cachedData = compiledOf(name, source);
  const script = new vm.Script(WRAPPER.join(source.toString()), {
    filename,
    ...(cachedData && { cachedData }),
  });
  recorded?.push([name, source, script]);
  const module = new Module(filename);
  module.filename = filename;
  require.cache[filename] = module;
  const inner = (id: string): unknown => {
    const [, file] = ours.exec(id) ?? [];
    return file === undefined ? require(id) : load(file);
  };
  try {
    (script.runInThisContext() as Wrapped)(module.exports, inner, module, filename, HERE);
  } catch (error) {
    delete require.cache[filename];
    throw error;
  }
  module.loaded = true;
  return module.exports;
};

/** Does what `import()` does, from a file of the bundle. */
export const importModule = async (specifier: string): Promise<unknown> => {
  const [, file] = ours.exec(specifier) ?? [];
  if (file !== undefined) return load(file);
  if (specifier.startsWith('node:')) return require(specifier);
  if (specifier.startsWith('file:')) {
    const path = fileURLToPath(specifier);
    if (dirname(path) === HERE) return load(path.slice(HERE.length + 1));
  }
  return import(specifier);
};
