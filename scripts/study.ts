// The study of cluster sizes and of dedup across offsets (docs/decisions/0011-cluster-size.md): `npm run study`.

import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { describeMachine, freeBytes } from '../bench/measure/machine.js';
import { Scratch } from '../bench/measure/scratch.js';
import { exists } from '../bench/study/evolving.js';
import { type StudyOptions, study } from '../bench/study/study.js';
import { describeStudy } from '../bench/study/study-table.js';
import { formatSizeDown, formatSizeUp, parseSize } from '../disk/index.js';
import { VERSION } from '../snapshot/index.js';

const ALL_SIZES = '4K,8K,16K,32K,64K,128K,256K,512K,1M,2M';
const SMALLEST_IMAGE = 32 * 2 ** 20;
/** What is made beside the stores: the image, the files it is made of, a restored copy. */
const OTHER_FILES = 3;

const USAGE = `Usage: npm run study -- [options]

  --size SIZE      of the image (default: 2G)
  --rounds N       of changes after the first take (default: 10)
  --seed N         other files, other changes (default: 1)
  --sizes LIST     of clusters (default: ${ALL_SIZES})
  --readings N     restores and verifications of each store (default: 1)
  --dir DIR        where everything is made (default: ${tmpdir()})
  --json           one JSON document`;

interface Words extends StudyOptions {
  readonly dir: string;
  readonly json: boolean;
}

const sizeOf = (option: string, text: string): number => {
  const size = parseSize(text);
  if (size === undefined) throw new Error(`--${option} ${JSON.stringify(text)} is not a size.`);
  return size;
};

const numberOf = (option: string, text: string): number => {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Error(`--${option} ${JSON.stringify(text)} is not a number from 1 on.`);
};

/** Parses the words after the program's name; undefined when help is asked for. */
const parseWords = (words: readonly string[]): Words | undefined => {
  const { values } = parseArgs({
    args: [...words],
    options: {
      size: { type: 'string', default: '2G' },
      rounds: { type: 'string', default: '10' },
      seed: { type: 'string', default: '1' },
      sizes: { type: 'string', default: ALL_SIZES },
      readings: { type: 'string', default: '1' },
      dir: { type: 'string', default: tmpdir() },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  const size = sizeOf('size', values.size);
  if (size < SMALLEST_IMAGE) throw new Error('--size must be at least 32M.');
  return {
    size,
    rounds: numberOf('rounds', values.rounds),
    seed: numberOf('seed', values.seed),
    sizes: values.sizes.split(',').map((text) => sizeOf('sizes', text)),
    readings: numberOf('readings', values.readings),
    dir: values.dir,
    json: values.json,
  };
};

const say = (sentence: string): void => console.error(`study: ${sentence}`);

/** A database makes the image more like real ones; without the program only files change. */
const installSqlite = (): void => {
  if (exists('sqlite3', ['--version']) || !exists('apt-get', ['--version'])) return;
  say('installing sqlite3');
  const root = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const [program = '', ...args] = [...root, 'apt-get', 'install', '--yes', 'sqlite3'];
  const { status } = spawnSync(program, args, { stdio: 'ignore' });
  if (status !== 0) say('sqlite3 cannot be installed: only files will change');
};

const checkSpace = ({ size, sizes, dir }: Words): void => {
  const needed = size * (sizes.length * 2 + OTHER_FILES);
  const free = freeBytes(dir);
  if (free >= needed) return;
  throw new Error(
    `${dir} has ${formatSizeDown(free)} free, and up to ${formatSizeUp(needed)} are needed: ` +
      'choose another --dir, a smaller --size or fewer --sizes.',
  );
};

const run = async (options: Words): Promise<void> => {
  checkSpace(options);
  installSqlite();
  const machine = describeMachine(options.dir);
  const scratch = new Scratch(options.dir);
  try {
    const found = await study(options, scratch, say);
    if (options.json) console.log(JSON.stringify({ version: VERSION, machine, ...found }));
    else {
      const { cpu, cores, kernel, fileSystem, load, node } = machine;
      console.log(
        `machine  ${cpu}, ${cores} cores, Linux ${kernel}, node ${node}, ${fileSystem}, ` +
          `load ${load.toFixed(2)}\n${describeStudy(found)}`,
      );
    }
  } finally {
    scratch.remove();
  }
};

/** Runs the program; resolves to its exit code. */
const main = async (words: readonly string[]): Promise<number> => {
  let options: Words | undefined;
  try {
    options = parseWords(words);
  } catch (error) {
    say(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    return 2;
  }
  if (!options) {
    console.log(USAGE);
    return 0;
  }
  try {
    await run(options);
    return 0;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 1;
  }
};

process.exitCode = await main(process.argv.slice(2));
