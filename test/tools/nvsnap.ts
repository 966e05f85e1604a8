// The command itself, as a process of its own.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** The command line as people run it. */
export const MAIN = fileURLToPath(new URL('../../run/nvsnap.js', import.meta.url));

/** How a process ended. */
export interface Ended {
  /** Exit code; null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process under way. */
export interface Running {
  readonly child: ChildProcess;
  /** Resolves when it has ended and its output is read. */
  readonly ended: Promise<Ended>;
}

/** Starts any program; its standard input is empty unless `options` say otherwise. */
export const start = (
  program: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Running => {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const ended = async (): Promise<Ended> => {
    const [[status, signal], stdout, stderr] = await Promise.all([
      once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>,
      child.stdout ? text(child.stdout) : '',
      child.stderr ? text(child.stderr) : '',
    ]);
    return { status, signal, stdout, stderr };
  };
  return { child, ended: ended() };
};

/** Starts nvsnap. */
export const startNvsnap = (args: readonly string[], options: SpawnOptions = {}): Running =>
  start(process.execPath, ['--no-warnings', MAIN, ...args], options);

/** Runs nvsnap to its end. */
export const nvsnap = (args: readonly string[], options: SpawnOptions = {}): Promise<Ended> =>
  startNvsnap(args, options).ended;
