// The commands that write to a store, their options and their help; what they do is in one file each.

import { type Command, Option } from 'commander';
import { SOURCE_USAGES } from '../snapshot/index.js';
import { act, CODECS, collect, common, DEDUPS, DIGESTS, staged } from './command.js';
import {
  parseMemory,
  parseNumber,
  parsePercentOrNone,
  parseSizeOption,
  parseThreads,
} from './parse.js';

const KEEP_OPTIONS = [
  ['last', 'the last N'],
  ['hourly', 'one of each of the last N hours'],
  ['daily', 'one of each of the last N days'],
  ['weekly', 'one of each of the last N weeks (ISO 8601)'],
  ['monthly', 'one of each of the last N months'],
  ['yearly', 'one of each of the last N years'],
] as const;

const addTake = (program: Command): void => {
  common(program.command('take [image] [store]'))
    .summary('take a snapshot of an image')
    .description(
      'Takes a snapshot of IMAGE (a file, a block device, or - for standard input) into STORE.\n' +
        'The first one makes the store and is complete; each later one stores only what changed.\n' +
        'With --jobs, takes all images that FILE lists, several at once; one that fails stops no other.',
    )
    .option('--jobs <file>', 'images, stores and options from a YAML or JSON file')
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
    .addOption(
      new Option(
        '--dedup <where>',
        'look for stored content at the same offset of the parent, or anywhere in it (default: parent)',
      ).choices(DEDUPS),
    )
    .option('--size <size>', 'size of an image from standard input', parseSizeOption('--size'))
    .option('--dirty <source>', 'what says which parts may have changed (default: scan)')
    .option(
      '--audit <percent>',
      'read so much of what it calls clean, 0 for nothing (default: 1)',
      parsePercentOrNone,
    )
    .option('--audit-seed <n>', 'audit the same clusters as before', parseNumber('--audit-seed'))
    .option('--trust', 'audit nothing: --audit 0')
    .option('--stage <module>', "let a stage of one's own do its work; may be repeated", collect)
    .option('--strict-stages', 'lend such stages copies only, and check all they do')
    .option('--threads <n>', 'threads per stage, or as scan=1,compress=4', parseThreads)
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .option('--other-image', 'take even if the image has nothing in common with the parent')
    .addHelpText(
      'after',
      `
Examples:
  nvsnap take /var/lib/vm/nvdimm.img vm.qcow2
  nvsnap take /dev/pmem0 pmem.qcow2 --tag before-upgrade
  ssh host cat nvdimm.img | nvsnap take - vm.qcow2 --size 256G
  nvsnap take nvdimm.img vm.qcow2 --dirty bitmap:/run/vm/dirty.bits
  nvsnap take --jobs images.yaml

Dirty sources:
${SOURCE_USAGES.map((usage) => `  ${usage}`).join('\n')}`,
    )
    .action(act(() => import('./take.js')));
};

const addWatch = (program: Command): void => {
  common(program.command('watch <jobs>'))
    .summary('take snapshots on a schedule')
    .description(
      'Takes all images that the file JOBS lists, at once and then at every interval that it names, and removes\n' +
        'the snapshots that its rules do not keep. A line per job and round on standard output; ends with SIGTERM.',
    )
    .option('--once', 'one round only, for cron')
    .option('--memory <size>', 'for batches in flight of all takes together', parseMemory)
    .addHelpText(
      'after',
      '\nExamples:\n  nvsnap watch images.yaml\n  nvsnap watch images.yaml --json\n  nvsnap watch images.yaml --once',
    )
    .action(act(() => import('./watch.js')));
};

const addConvert = (program: Command): void => {
  const asBefore = '(default: as it is)';
  staged(common(program.command('convert <store> <output>')))
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
    .option('--leave-stages', 'write the copy without the stages that STORE is read through')
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
  staged(common(program.command('export <store> <snapshot>')))
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
  staged(common(program.command('import <store>')))
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

export const addWriters = (program: Command): void => {
  addTake(program);
  addWatch(program);
  addConvert(program);
  addShipping(program);
  addRemovers(program);
};
