// What every command has: the common options, and a way from commander's call to our own.

import { type Command, Option } from 'commander';
import type { Pools } from '../snapshot/index.js';
import { type CommonOptions, Screen } from './screen.js';

/** A command's work: the exit code, or a fault. */
export type Action = (
  args: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
) => Promise<number>;

/** What a call of the program ends with, and the threads that were started for it already. */
export const call: { exitCode: number; pools: Pools | undefined } = {
  exitCode: 0,
  pools: undefined,
};

/** Adds the options that every command takes. */
export const common = (command: Command): Command =>
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

/** An option that may be given again and again. */
export const collect = (word: string, before: readonly string[] = []): string[] => [
  ...before,
  word,
];

/** Adds the option that names the stages which a store is written and read through. */
export const staged = (command: Command): Command =>
  command.option(
    '--stage <module>',
    'a stage that the store is written through, with its options; may be repeated',
    collect,
  );

/** Loads a command's own file when it is called, and runs it. */
export const act = (load: () => Promise<{ default: Action }>) =>
  async function (this: Command): Promise<void> {
    const options = this.opts<CommonOptions>();
    const screen = new Screen(options);
    try {
      const { default: action } = await load();
      const { stage: stages } = this.opts<{ stage?: string[] }>();
      call.exitCode = await action(this.args, { ...options, stages, pools: call.pools }, screen);
    } catch (error) {
      call.exitCode = screen.failure(error);
    }
  };

/** The codecs and digests that a new store may have. */
export const CODECS = ['zstd', 'zlib', 'lz4', 'none'] as const;
export const DIGESTS = ['xxh3-128', 'blake3'] as const;
/** Where a dependent take looks for what is stored already. */
export const DEDUPS = ['parent', 'store'] as const;
