// The commands that only read a store, their options and their help; what they do is in one file each.

import type { Command } from 'commander';
import { act, common, staged } from './command.js';
import { parseMemory, parsePercent, parseRange, parseSeconds, parseThreads } from './parse.js';

const addRestore = (program: Command): void => {
  staged(common(program.command('restore <store> <snapshot> <output>')))
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

const addLooks = (program: Command): void => {
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
  staged(common(program.command('check <store>')))
    .summary('check the structure of a store')
    .description(
      'Checks every table of STORE: refcounts, overlaps, reserved bits, digests. Reads no data. Exit\n' +
        'code 3 when damage is found.',
    )
    .addHelpText('after', '\nExample:\n  nvsnap check vm.qcow2')
    .action(act(() => import('./check.js')));
};

const addCompare = (program: Command): void => {
  staged(common(program.command('compare <store> <snapshot> <image>')))
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
  staged(common(program.command('diff <store> <from> [to]')))
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
  staged(common(program.command('verify <store> [snapshots...]')))
    .summary('read and verify stored data')
    .description(
      'Reads every stored cluster of the SNAPSHOTs of STORE (default: all) once, however many share it, and\n' +
        'holds it against its digest. Exit code 3 when damage is found.',
    )
    .option('--from-disk', 'read the disk, not what the system still has in memory of it')
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
      '\nExamples:\n  nvsnap verify vm.qcow2\n  nvsnap verify vm.qcow2 latest --sample 5\n  nvsnap verify vm.qcow2 --time-budget 10m --from-disk',
    )
    .action(act(() => import('./verify.js')));
};

export const addReaders = (program: Command): void => {
  addRestore(program);
  addLooks(program);
  addVerify(program);
  addCompare(program);
  addDiff(program);
};
