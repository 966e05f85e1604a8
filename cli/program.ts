// The command line: which commands there are, and what becomes of a call.

import { Command, CommanderError } from 'commander';
import { ioFault } from '../disk/index.js';
import { Fault, type Pools, VERSION } from '../snapshot/index.js';
import { call } from './command.js';
import { addBench } from './measuring.js';
import { standardError, standardOutput } from './output.js';
import { addStages } from './plugs.js';
import { addReaders } from './readers.js';
import { Screen } from './screen.js';
import { addVm } from './vm.js';
import { addWriters } from './writers.js';

/** What commander found wrong with the words of a call, in our words. */
const usageFault = (error: CommanderError): Fault => {
  if (error.code === 'commander.help') {
    const advice = 'See "nvsnap help vm" for those that there are.';
    return new Fault({ code: 'usage', details: { problem: 'A command is missing.', advice } });
  }
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

/** The exit code when all has been said: a result that was lost is a failure. */
const settle = async (exitCode: number, args: readonly string[]): Promise<number> => {
  const lost = [await standardOutput.lost(), await standardError.lost()].filter(Boolean);
  if (lost.length === 0) return exitCode;
  const { message, advice } = ioFault(lost[0], 'standard output', 'write');
  new Screen({ color: !args.includes('--no-color') }).complain(message, advice);
  return exitCode || 1;
};

const run = async (args: readonly string[], warm?: Pools): Promise<number> => {
  call.pools = warm;
  const program = new Command('nvsnap')
    .description('Dependent snapshots of large NVDIMM images in standard qcow2 files.')
    .version(VERSION)
    .helpCommand(true)
    .showHelpAfterError(false)
    .configureOutput({ writeOut: (text) => standardOutput.write(text), writeErr: () => {} })
    .exitOverride();
  addWriters(program);
  addReaders(program);
  addStages(program);
  addBench(program);
  addVm(program);
  for (const command of program.commands) command.copyInheritedSettings(program);
  try {
    if (args.length === 0) {
      standardOutput.write(program.helpInformation());
      return 2;
    }
    await program.parseAsync(args, { from: 'user' });
    return call.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const screen = new Screen({ json: args.includes('--json'), debug: args.includes('--debug') });
    return screen.failure(error instanceof CommanderError ? usageFault(error) : error);
  }
};

/** Runs one command line, in threads of `warm` where it needs some; resolves to the exit code. */
export const runCli = async (args: readonly string[], warm?: Pools): Promise<number> =>
  settle(await run(args, warm), args);
