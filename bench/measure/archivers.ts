// Programs that keep states of an image in a folder of their own: borg, restic, casync, and zstd for one state.

import type { Job } from '../job.js';
import { type Command, execute, shell } from './process.js';

/** One such program. */
export interface Archiver {
  readonly name: string;
  /** Everything it has written. */
  readonly folder: string;
  /** Begins with nothing. */
  begin(): Promise<void>;
  /** Keeps an image under a name. */
  put(image: string, name: string): Command;
  /** Brings it back to a new file. */
  get(image: string, name: string, out: string): Command;
  drop(): void;
}

type Words = (...args: readonly string[]) => Command;

const borg = (folder: string): Pick<Archiver, 'put' | 'get'> & { readonly init: Command } => {
  const env = {
    BORG_BASE_DIR: folder,
    BORG_REPO: `${folder}/repository`,
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
  };
  const run: Words = (...args) => ({ program: 'borg', args, env });
  return {
    init: run('init', '--encryption', 'none', '--make-parent-dirs'),
    // Chunks as our clusters; what the image holds counts, not when it was written.
    put: (image, name) =>
      run(
        ...['create', '--chunker-params', 'fixed,65536', '-C', 'lz4'],
        ...['--files-cache', 'disabled', `::${name}`, image],
      ),
    get: (_image, name, out) => shell('borg extract --stdout "::$0" > "$1"', [name, out], env),
  };
};

const restic = (folder: string): Pick<Archiver, 'put' | 'get'> & { readonly init: Command } => {
  const env = {
    RESTIC_REPOSITORY: `${folder}/repository`,
    RESTIC_CACHE_DIR: `${folder}/cache`,
    RESTIC_PASSWORD: 'benchmark',
  };
  const run: Words = (...args) => ({ program: 'restic', args: ['--quiet', ...args], env });
  return {
    init: run('init'),
    put: (image, name) => run('backup', '--force', '--tag', name, image),
    get: (image, name, out) =>
      shell('restic --quiet dump --tag "$0" latest "$1" > "$2"', [name, image, out], env),
  };
};

const casync = (folder: string): Pick<Archiver, 'put' | 'get'> => {
  const store = `--store=${folder}/chunks`;
  return {
    put: (image, name) => ({
      program: 'casync',
      args: ['make', store, `${folder}/${name}.caibx`, image],
    }),
    get: (_image, name, out) => ({
      program: 'casync',
      args: ['extract', store, `${folder}/${name}.caibx`, out],
    }),
  };
};

/** Level 1 as ours is: what all processors can do with one stream. */
const zstd = (folder: string): Pick<Archiver, 'put' | 'get'> => ({
  put: (image, name) => ({
    program: 'zstd',
    args: ['-1', '-T0', '-q', '-f', image, '-o', `${folder}/${name}.zst`],
  }),
  get: (_image, name, out) => ({
    program: 'zstd',
    args: ['-d', '-q', '-f', `${folder}/${name}.zst`, '-o', out],
  }),
});

const MAKERS: Readonly<
  Record<string, (folder: string) => Pick<Archiver, 'put' | 'get'> & { readonly init?: Command }>
> = { borg, restic, casync, zstd };

/** Those of `names` that are installed. */
export const archivers = (job: Job, names: readonly string[]): Archiver[] =>
  names.flatMap((name) => {
    const maker = MAKERS[name];
    if (!maker || !job.has(name)) return [];
    const { scratch } = job;
    const folder = scratch.path(name);
    const { init, put, get } = maker(folder);
    return {
      name,
      folder,
      put,
      get,
      async begin() {
        scratch.drop(name);
        scratch.folderFor(name);
        if (init) await execute(scratch, init);
      },
      drop: () => scratch.drop(name),
    };
  });
