// The benchmark's options and their help; what it does is in bench/, loaded when it is called.

import type { Command } from 'commander';
import { act, common } from './command.js';
import { parseNumber, parsePercent, parseSizeOption } from './parse.js';

export const addBench = (program: Command): void => {
  common(program.command('bench'))
    .summary('measure this machine')
    .description(
      'Measures how fast each stage and the whole are on this machine, what limits them, and what other programs\n' +
        'take for the same: in turn, and with outputs proven equal. Everything is made in one folder, which is gone\n' +
        'at the end.',
    )
    .option('--only <names>', 'levels and cases, as in kernels,first,next (default: all)')
    .option('--list', 'say which there are')
    .option('--size <size>', 'of the image of most cases (default: 1G)', parseSizeOption('--size'))
    .option('--big <size>', 'of those where reading counts (default: 8G)', parseSizeOption('--big'))
    .option('--content <kind>', 'mixed, files, database, memory, zeros or random (default: mixed)')
    .option('--change <pattern>', 'idle, scattered, hot, bulk or delete (default: scattered)')
    .option('--changed <percent>', 'of the clusters between two takes (default: 1)', parsePercent)
    .option('--image <file>', 'an image of yours instead; it is only read')
    .option('--next <file>', 'its next state; it is only read')
    .option('--dir <dir>', 'where everything is made; in memory, as /dev/shm, syncs cost nothing')
    .option('--rounds <n>', 'each contender runs so often (default: 3)', parseNumber('--rounds'))
    .option('--seed <n>', 'other data, other changes (default: 1)', parseNumber('--seed'))
    .option(
      '--cache <state>',
      'of the page cache before each round: warm or dropped (default: warm)',
    )
    .option(
      '--kernel-ms <n>',
      'milliseconds for each kernel in a round (default: 50)',
      parseNumber('--kernel-ms'),
    )
    .option('--save <file>', 'write everything to a JSON file')
    .option('--html <file>', 'write a report with plots')
    .option('--compare <files...>', 'say what two saved runs differ in, beyond noise')
    .addHelpText(
      'after',
      `
Examples:
  nvsnap bench --only commands --size 1G --html report.html
  nvsnap bench --image vm.img --next vm-later.img --only first,next,restore
  nvsnap bench --compare before.json after.json`,
    )
    .action(act(() => import('./bench.js')));
};
