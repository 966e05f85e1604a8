// The command about what can be plugged in, its options and its help.

import { type Command, Option } from 'commander';
import { act, common } from './command.js';

export const addStages = (program: Command): void => {
  common(program.command('stages [module]'))
    .summary('list stages and what they take, or begin a new one')
    .description(
      'Lists the built-in stages, and the packages nvsnap-stage-… and nvsnap-source-… that are found from here;\n' +
        'with MODULE (a file as ./mask.js, or a package) describes that stage. With --new writes a stage to begin\n' +
        'with, NAME.js, and its test, NAME.test.js.',
    )
    .option('--new <name>', 'write a new stage into this folder')
    .addOption(
      new Option('--kind <kind>', 'of the new stage (default: observer)').choices([
        'observer',
        'filter',
        'reversible',
      ]),
    )
    .addHelpText(
      'after',
      `
Examples:
  nvsnap stages
  nvsnap stages ./mask.js
  nvsnap stages --new mask --kind filter`,
    )
    .action(act(() => import('./stages.js')));
};
