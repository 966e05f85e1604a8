// nvsnap vm: the commands about live machines, their options and their help; what they do is in one file each.

import { type Command, Option } from 'commander';
import { SOURCE_USAGES } from '../snapshot/index.js';
import { act, CODECS, common } from './command.js';
import { parseMemory, parseNumber, parseSeconds, parseSizeOption } from './parse.js';

const QMP = 'where QEMU listens: a path, or a port as 127.0.0.1:4444';
const STORES = 'folder of the points of this machine';

/** "SPEC" for all regions, or "ID=SPEC" for one; may be repeated. */
const collectDirty = (
  word: string,
  before: string | Readonly<Record<string, string>> | undefined,
): string | Record<string, string> => {
  const [, id, spec] = /^([A-Za-z][\w.-]*)=(.+)$/.exec(word) ?? [];
  if (id === undefined || spec === undefined) return word;
  return { ...(typeof before === 'object' ? before : {}), [id]: spec };
};

const addLooks = (vm: Command): void => {
  common(vm.command('list'))
    .summary('show the memory of a machine')
    .description(
      'Shows the state of the machine behind a QMP socket, and each of its memory backends: file, size, guest address,\n' +
        'whether its file system makes clones, and what cannot be consistent. Changes nothing.',
    )
    .requiredOption('--qmp <socket>', QMP)
    .option('--stores <dir>', `${STORES}: says which store each goes to`)
    .addHelpText('after', '\nExample:\n  nvsnap vm list --qmp /run/vm/qmp.sock')
    .action(act(() => import('./vm-list.js')));
  common(vm.command('points <dir>'))
    .summary('list the points of a machine')
    .description('Lists the points in DIR, oldest first. What was taken in part is none.')
    .addHelpText('after', '\nExample:\n  nvsnap vm points /backup/web')
    .action(act(() => import('./vm-points.js')));
};

const addTake = (vm: Command): void => {
  common(vm.command('take'))
    .summary('take a point of a running machine')
    .description(
      'Stops the machine, writes down its devices, clones its memory, lets it go on, and stores the clones as dependent\n' +
        'snapshots, each region in a store of its own. Whatever happens to nvsnap, a watchdog lets the machine go on.',
    )
    .requiredOption('--qmp <socket>', QMP)
    .requiredOption('--stores <dir>', `${STORES}; made when it does not exist`)
    .option('-t, --tag <tag>', 'name of the point (default: made from the time)')
    .addOption(
      new Option('--state <what>', 'with the devices and all RAM, or the NVDIMMs alone')
        .choices(['device', 'none'])
        .default('device'),
    )
    .addOption(
      new Option('--freeze <how>', 'read clones, read while it stands still, or while it runs')
        .choices(['reflink', 'pause', 'none'])
        .default('reflink'),
    )
    .option(
      '--dirty <source>',
      'what says which parts may have changed, or ID=SOURCE for one region (default: scan)',
      collectDirty,
    )
    .option('--while-paused <command>', 'shell command to run while the machine stands still')
    .option(
      '--max-pause <time>',
      'the watchdog lets it go on after 10s, 1m … (default: 10s)',
      parseSeconds('--max-pause'),
    )
    .option(
      '--cluster-size <size>',
      'for new stores: 4K to 2M (default: 64K)',
      parseSizeOption('--cluster-size'),
    )
    .addOption(
      new Option('-c, --compression <codec>', 'for new stores (default: zstd)').choices(CODECS),
    )
    .option('--level <n>', "the codec's level (zstd: 1)", parseNumber('--level'))
    .option('--memory <size>', 'for batches in flight of all regions together', parseMemory)
    .addHelpText(
      'after',
      `
Examples:
  nvsnap vm take --qmp /run/vm/qmp.sock --stores /backup/web
  nvsnap vm take --qmp /run/vm/qmp.sock --stores /backup/web --tag before-upgrade --dirty reflink
  nvsnap vm take --qmp /run/vm/qmp.sock --stores /backup/web --state none --freeze pause
  nvsnap vm take --qmp 127.0.0.1:4444 --stores /backup/web --while-paused 'lvcreate -s -n point vg/disk'

Dirty sources:
${SOURCE_USAGES.map((usage) => `  ${usage}`).join('\n')}`,
    )
    .action(act(() => import('./vm-take.js')));
};

const addReturns = (vm: Command): void => {
  common(vm.command('restore <dir> <tag>'))
    .summary('bring the files of a point back')
    .description(
      'Writes the images of the point TAG in DIR, and its device state, to files, and prints the options with which QEMU\n' +
        'is to be started on them. Every cluster is held against its digest.',
    )
    .option('--to <folder>', 'into new files in this folder; made when it does not exist')
    .option('--in-place', "bring the machine's own files back, writing only what differs")
    .option('-f, --force', 'with --to: replace existing files')
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText(
      'after',
      `
Examples:
  nvsnap vm restore /backup/web before-upgrade --to /var/lib/vm/web-again
  nvsnap vm restore /backup/web before-upgrade --in-place`,
    )
    .action(act(() => import('./vm-restore.js')));
  common(vm.command('resume <dir> <tag>'))
    .summary('let a machine go on from a point')
    .description(
      'Gives the device state of the point TAG in DIR to a QEMU that was started with -incoming defer, and lets it go on.\n' +
        'First every byte of its memory is held against the point: what does not fit is refused by name.',
    )
    .requiredOption('--qmp <socket>', QMP)
    .option('--other-qemu', 'accept another version of QEMU than the point was taken of')
    .option('--memory <size>', 'for batches in flight (default: 192M)', parseMemory)
    .addHelpText(
      'after',
      '\nExample:\n  nvsnap vm resume --qmp /run/vm/qmp.sock /backup/web before-upgrade',
    )
    .action(act(() => import('./vm-resume.js')));
};

const addRemove = (vm: Command): void => {
  common(vm.command('remove <dir> <tags...>'))
    .summary('remove points')
    .description('Removes points in DIR with all their snapshots. All others stay as they are.')
    .addHelpText('after', '\nExample:\n  nvsnap vm remove /backup/web before-upgrade')
    .action(act(() => import('./vm-points.js').then(({ remove }) => ({ default: remove }))));
};

export const addVm = (program: Command): void => {
  const vm = program
    .command('vm')
    .summary('points in time of running machines')
    .description(
      'Takes points of running QEMU machines, NVDIMMs, RAM and device state together, and brings them back. See docs/live.md.',
    );
  addLooks(vm);
  addTake(vm);
  addReturns(vm);
  addRemove(vm);
  for (const command of vm.commands) command.copyInheritedSettings(program);
};
