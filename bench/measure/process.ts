// Other programs, and ourselves, as processes.

import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fault } from '../../disk/index.js';
import type { Scratch } from './scratch.js';

/** How much of what a failed process said is worth repeating. */
const LAST_WORDS = 600;

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Ours without what makes Node load more at its start than a user's shell would ask of it. */
const plainEnvironment = (): NodeJS.ProcessEnv => {
  const { NODE_EXTRA_CA_CERTS: _certificates, NODE_OPTIONS: _options, ...rest } = process.env;
  return rest;
};

/** Runs a process to its end; `consume` gets what it prints. Rejects when it fails. */
export const execute = async (
  scratch: Scratch,
  { program, args, env }: Command,
  consume?: (output: Readable) => Promise<void>,
): Promise<void> => {
  const child = spawn(program, args, {
    cwd: scratch.folder,
    env: { ...plainEnvironment(), ...env },
    stdio: ['ignore', consume ? 'pipe' : 'ignore', 'pipe'],
  });
  scratch.adopt(child);
  let words = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-LAST_WORDS);
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', (error) =>
      reject(fault('bench-failed', { command: program, reason: error.message }, error)),
    );
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else {
        const command = [program, ...args].join(' ');
        reject(
          fault('bench-failed', { command, reason: `it ended with ${code ?? signal}. ${words}` }),
        );
      }
    });
  });
  await Promise.all([ended, child.stdout && consume?.(child.stdout)]);
};

/** Runs a process to its end; resolves to what it printed. */
export const hear = async (scratch: Scratch, command: Command): Promise<string> => {
  let heard = '';
  await execute(scratch, command, async (output) => {
    for await (const text of output.setEncoding('utf8')) heard += text;
  });
  return heard;
};

/** A command line for a shell, of which `$0`, `$1` … are `words`: nothing in them needs quoting. */
export const shell = (
  script: string,
  words: readonly string[],
  env?: Readonly<Record<string, string>>,
): Command => ({
  program: 'bash',
  args: ['-c', script, ...words],
  ...(env ? { env } : {}),
});
