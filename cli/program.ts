// The commands, their options and their help; what they do is in one file each.

import { Command, CommanderError, Option } from 'commander';
import { Fault, type Pools, VERSION } from '../snapshot/index.js';
import {
  parseMemory,
  parseNumber,
  parsePercent,
  parseRange,
  parseSeconds,
  parseSizeOption,
  parseThreads,
} from './parse.js';
import { type CommonOptions, Screen } from './screen.js';

/** A command's work: the exit code, or a fault. */
type Action = (
  args: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
) => Promise<number>;

const KEEP_OPTIONS = [
  ['last', 'the last N'],
  ['hourly', 'one of each of the last N hours'],
  ['daily', 'one of each of the last N days'],
  ['weekly', 'one of each of the last N weeks (ISO 8601)'],
  ['monthly', 'one of each of the last N months'],
  ['yearly', 'one of each of the last N years'],
] as const;

let exitCode = 0;
/** Threads that were started already. */
let pools: Pools | undefined;

const common = (command: Command): Command =>
  command
    .option('--json', 'one JSON document on standard output')
    .addOption(
      new Option('--progress <how>', 'progress on standard error')
        .choices(['auto', 'json', 'none'])
        .default('auto'),
    )
    .option('-q, --quiet', 'say nothing but errors')
    .option('--no-color', 'no colours (as NO_COLOR does)')
    .option('--debug', 'stack traces with errors');

const act = (load: () => Promise<{ default: Action }>) =>
  async function (this: Command): Promise<void> {
    const options = this.opts<CommonOptions>();
    const screen = new Screen(options);
    try {
      const { default: action } = await load();
      exitCode = await action(this.args, { ...options, pools }, screen);
    } catch (error) {
      exitCode = screen.failure(error);
    }
  };

const CODECS = ['zstd', 'zlib', 'lz4', 'none'] as const;
const DIGESTS = ['xxh3-128', 'blake3'] as const;

const collect = (word: string, before: readonly string[] = []): string[] => [...before, word];

const addTake = (program: Command): void => {
  common(program.command('take <image> <store>'))
    .summary('take a snapshot of an image')
    .description(
      'Takes a snapshot of IMAGE (a file, a block device, or - for standard input) into STORE.\n' +
        'The first one makes the store and is complete; each later one stores only what changed.',
    )
    .option('-t, --tag <tag>', 'name of the snapshot (default: made from the time)')
    .option('--parent <snapshot>', 'compare with: latest, a tag, #id, uuid, or none', 'latest')
    .option(
      '--cluster-size <size>',
      'for a new store: 4K to 2M (default: 64K)',
      parseSizeOption('--cluster-size'),
    )
    .addOption(
      new Option('-c, --compression <codec>', 'for a new store (default: zstd)').choices(CODECS),
    )
    .option('--level <n>', "the codec's level (zstd: 1)", parseNumber('--level'))
    .addOption(
      new Option('--digest <algorithm>', 'for a new store (default: xxh3-128)').choices(DIGESTS),
    )
    .option('--size <size>', 'size of an image from standard input', parseSizeOption('--size'))
    .option('--threads <n>', 'threads per stage, or as scan=1,compress=4', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .option('--other-image', 'take even if the image has nothing in common with the parent')
    .addHelpText(
      'after',
      `
Examples:
  nvsnap take /var/lib/vm/nvdimm.img vm.qcow2
  nvsnap take /dev/pmem0 pmem.qcow2 --tag before-upgrade
  ssh host cat nvdimm.img | nvsnap take - vm.qcow2 --size 256G`,
    )
    .action(act(() => import('./take.js')));
};

const addRestore = (program: Command): void => {
  common(program.command('restore <store> <snapshot> <output>'))
    .summary('bring a snapshot back')
    .description(
      'Writes SNAPSHOT (a tag, #id, uuid prefix or "latest") of STORE to OUTPUT: a new file, a block device, or\n' +
        '"-" for standard output. Every cluster is held against its digest; holes stay holes.',
    )
    .option('-f, --force', 'replace an existing file, or write to a block device')
    .option('--in-place', 'OUTPUT is a copy of the image: write only what differs')
    .option('--dry-run', 'with --in-place: only say how much differs')
    .option('--range <start:length>', 'only these bytes of the image', parseRange)
    .option('--skip-damaged', 'go on past damage, and list it in OUTPUT.bad-ranges (exit code 3)')
    .option('--threads <n>', 'threads per stage, or as decode=4', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText(
      'after',
      `
Examples:
  nvsnap restore vm.qcow2 latest nvdimm.img
  nvsnap restore vm.qcow2 before-upgrade /dev/pmem0 --force
  nvsnap restore vm.qcow2 latest nvdimm.img --in-place
  nvsnap restore vm.qcow2 latest - --range 1M:4K | hexdump -C`,
    )
    .action(act(() => import('./restore.js')));
};

const addConvert = (program: Command): void => {
  const asBefore = '(default: as it is)';
  common(program.command('convert <store> <output>'))
    .summary('copy a store with another codec or cluster size')
    .description(
      'Copies the snapshots of STORE, of nvsnap or any other qcow2 file, to the new store OUTPUT. What they share they\n' +
        'go on sharing, tags, times and lineage stay. A private lz4 store becomes one that stock QEMU reads.',
    )
    .option('-s, --snapshot <snapshot>', 'only this one; may be repeated (default: all)', collect)
    .option('--cluster-size <size>', `4K to 2M ${asBefore}`, parseSizeOption('--cluster-size'))
    .addOption(
      new Option('-c, --compression <codec>', `${asBefore.slice(0, -1)}, lz4 as zstd)`).choices(
        CODECS,
      ),
    )
    .option('--level <n>', "the codec's level (zstd: 1)", parseNumber('--level'))
    .addOption(new Option('--digest <algorithm>', asBefore).choices(DIGESTS))
    .option('-f, --force', 'replace an existing file')
    .option('--threads <n>', 'threads per stage, or as decode=1,compress=4', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText(
      'after',
      `
Examples:
  nvsnap convert vm.qcow2 small.qcow2 --compression zstd --level 9
  nvsnap convert vm.qcow2 monday.qcow2 --snapshot monday`,
    )
    .action(act(() => import('./convert.js')));
};

const addShipping = (program: Command): void => {
  common(program.command('export <store> <snapshot>'))
    .summary('write a snapshot to standard output, for import')
    .description(
      'Writes SNAPSHOT of STORE to standard output as a stream for "nvsnap import": all of it, or with --since only\n' +
        'what has changed since a snapshot that the receiving store holds. Every byte is verified on the way.',
    )
    .option('--since <snapshot>', 'the snapshot that the receiver has')
    .option('--level <n>', "the stream's zstd level", parseNumber('--level'))
    .option('--threads <n>', 'threads per stage, or as decode=1,compress=4', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText(
      'after',
      `
Examples:
  nvsnap export vm.qcow2 monday > monday.nvsnap
  nvsnap export vm.qcow2 tuesday --since monday | ssh host nvsnap import backup.qcow2`,
    )
    .action(act(() => import('./export.js')));
  common(program.command('import <store>'))
    .summary('take a snapshot from a stream on standard input')
    .description(
      'Reads a stream of "nvsnap export" from standard input and makes its snapshot in STORE, with its tag, time and\n' +
        'uuid. What it was exported since must be there. Verified on arrival; the store changes only at the end.',
    )
    .option('-t, --tag <tag>', 'another tag than it had')
    .option(
      '--cluster-size <size>',
      'for a new store (default: as the stream)',
      parseSizeOption('--cluster-size'),
    )
    .addOption(
      new Option('-c, --compression <codec>', 'for a new store (default: zstd)').choices(CODECS),
    )
    .addOption(
      new Option('--digest <algorithm>', 'for a new store (default: xxh3-128)').choices(DIGESTS),
    )
    .option('--level <n>', "the store's codec's level (zstd: 1)", parseNumber('--level'))
    .option('--threads <n>', 'threads per stage, or as decode=1,compress=4', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText(
      'after',
      `
Examples:
  nvsnap import backup.qcow2 < monday.nvsnap
  ssh host nvsnap export vm.qcow2 tuesday --since monday | nvsnap import backup.qcow2`,
    )
    .action(act(() => import('./import.js')));
};

const addReaders = (program: Command): void => {
  common(program.command('list <store>'))
    .summary('list the snapshots of a store')
    .description('Lists the snapshots of STORE, oldest first.')
    .addHelpText('after', '\nExample:\n  nvsnap list vm.qcow2 --json')
    .action(act(() => import('./list.js')));
  common(program.command('info <store> [snapshot]'))
    .summary('describe a store, or one snapshot')
    .description('Says what STORE is, or what is known of one SNAPSHOT of it.')
    .addHelpText('after', '\nExamples:\n  nvsnap info vm.qcow2\n  nvsnap info vm.qcow2 latest')
    .action(act(() => import('./info.js')));
  common(program.command('check <store>'))
    .summary('check the structure of a store')
    .description(
      'Checks every table of STORE: refcounts, overlaps, reserved bits, digests. Reads no data. Exit\n' +
        'code 3 when damage is found.',
    )
    .addHelpText('after', '\nExample:\n  nvsnap check vm.qcow2')
    .action(act(() => import('./check.js')));
};

const addCompare = (program: Command): void => {
  common(program.command('compare <store> <snapshot> <image>'))
    .summary('compare a snapshot with an image')
    .description(
      'Reads IMAGE (a file or block device) and holds it against the digests of SNAPSHOT of STORE. Lists the\n' +
        'ranges (START+LENGTH) that differ, cluster by cluster. Exit code 3 when there are any.',
    )
    .option('--threads <n>', 'threads per stage, or as scan=2', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText('after', '\nExample:\n  nvsnap compare vm.qcow2 latest /var/lib/vm/nvdimm.img')
    .action(act(() => import('./compare.js')));
};

const addDiff = (program: Command): void => {
  common(program.command('diff <store> <from> [to]'))
    .summary('say where two snapshots differ')
    .description(
      'Lists the ranges of image bytes (START+LENGTH) in which the snapshots FROM and TO (default: latest) of\n' +
        'STORE differ, cluster by cluster, out of tables and digests: no data is read.',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  nvsnap diff vm.qcow2 monday\n  nvsnap diff vm.qcow2 monday tuesday --json',
    )
    .action(act(() => import('./diff.js')));
};

const addVerify = (program: Command): void => {
  common(program.command('verify <store> [snapshots...]'))
    .summary('read and verify stored data')
    .description(
      'Reads every stored cluster of the SNAPSHOTs of STORE (default: all) once, however many share it, and\n' +
        'holds it against its digest. Exit code 3 when damage is found.',
    )
    .option('--sample <percent>', 'read so many percent of the clusters, at random', parsePercent)
    .option(
      '--time-budget <time>',
      'begin somewhere, and stop after 90s, 10m or 1.5h',
      parseSeconds('--time-budget'),
    )
    .option('--threads <n>', 'threads per stage, or as decode=4', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText(
      'after',
      '\nExamples:\n  nvsnap verify vm.qcow2\n  nvsnap verify vm.qcow2 latest --sample 5\n  nvsnap verify vm.qcow2 --time-budget 10m',
    )
    .action(act(() => import('./verify.js')));
};

const addRemovers = (program: Command): void => {
  const noPunch = '--no-punch';
  const why = 'leave freed space in the file, for later takes';
  common(program.command('remove <store> <snapshots...>'))
    .summary('remove snapshots')
    .description(
      'Removes each SNAPSHOT (a tag, #id, uuid prefix or "latest") from STORE. All others stay as they are,\n' +
        'also those that were taken on top of it.',
    )
    .option(noPunch, why)
    .addHelpText(
      'after',
      "\nExamples:\n  nvsnap remove vm.qcow2 monday\n  nvsnap remove vm.qcow2 '#3' '#4'",
    )
    .action(act(() => import('./remove.js')));
  const prune = common(program.command('prune <store>'))
    .summary('remove snapshots by age')
    .description(
      'Removes the snapshots of STORE that no rule keeps. A rule keeps the newest snapshot of each of the last\n' +
        'N hours, days, weeks, months or years that have one, in local time; --keep-last the last N.',
    );
  for (const [rule, what] of KEEP_OPTIONS) {
    const option = `--keep-${rule}`;
    prune.option(`${option} <n>`, what, parseNumber(option));
  }
  prune
    .option('--dry-run', 'only say what would be removed')
    .option(noPunch, why)
    .addHelpText(
      'after',
      `
Examples:
  nvsnap prune vm.qcow2 --keep-last 5
  nvsnap prune vm.qcow2 --keep-hourly 24 --keep-daily 7 --keep-weekly 4 --dry-run`,
    )
    .action(act(() => import('./prune.js')));
};

/** What commander found wrong with the words of a call, in our words. */
const usageFault = (error: CommanderError): Fault => {
  const problem = error.message
    .replace(/^error: /, '')
    .replace(/\n[\s\S]*$/, '')
    .replace(/\. ([AE])/, (_, letter: string) => `; ${letter.toLowerCase()}`);
  const sentence = `${problem.charAt(0).toUpperCase()}${problem.slice(1)}${problem.endsWith('.') ? '' : '.'}`;
  return new Fault({
    code: 'usage',
    details: { problem: sentence, advice: 'See "nvsnap --help", or "nvsnap help COMMAND".' },
  });
};

/** Runs one command line, in threads of `warm` where it needs some; resolves to the exit code. */
export const runCli = async (args: readonly string[], warm?: Pools): Promise<number> => {
  pools = warm;
  const program = new Command('nvsnap')
    .description('Dependent snapshots of large NVDIMM images in standard qcow2 files.')
    .version(VERSION)
    .helpCommand(true)
    .showHelpAfterError(false)
    .configureOutput({ writeErr: () => {} })
    .exitOverride();
  addTake(program);
  addRestore(program);
  addReaders(program);
  addConvert(program);
  addShipping(program);
  addCompare(program);
  addDiff(program);
  addVerify(program);
  addRemovers(program);
  for (const command of program.commands) command.copyInheritedSettings(program);
  try {
    if (args.length === 0) {
      process.stdout.write(program.helpInformation());
      return 2;
    }
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const screen = new Screen({ json: args.includes('--json'), debug: args.includes('--debug') });
    return screen.failure(error instanceof CommanderError ? usageFault(error) : error);
  }
};
