// A group's commands. What a hook stills must go on again, so a hook is out of reach of what ends us: it runs in
// a session of its own, where Ctrl-C on our terminal does not arrive, and it cannot keep us waiting for ever.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fault, reasonOf } from '../disk/index.js';
import { failureOf, type HookOutcome } from './outcome.js';
import type { Group } from './plan.js';

/** After being asked to end, a command has so long before it is made to. */
const GRACE_MS = 5_000;
/** Of a command, so much is said in messages. */
const SHOWN = 60;

const STDERR_FD = 2;

/** Half a sentence on how it ended; undefined for success. */
export type Ending = string | undefined;

const endingOf = (code: number | null, signal: NodeJS.Signals | null): Ending => {
  if (signal !== null) return `was ended by ${signal}`;
  return code === 0 ? undefined : `ended with exit code ${code}`;
};

/** Ends a process and all that it has started, first by asking. Returns a way to make sure of it at once. */
const endTree = (pid: number): (() => void) => {
  const send = (name: NodeJS.Signals): void => {
    try {
      process.kill(-pid, name);
    } catch {
      // All of it is gone already.
    }
  };
  send('SIGTERM');
  const timer = setTimeout(send, GRACE_MS, 'SIGKILL');
  return () => {
    clearTimeout(timer);
    send('SIGKILL');
  };
};

/** Runs a shell command to its end, or until the time is over or the caller wants to stop. */
export const runCommand = async (
  command: string,
  { folder, environment, timeoutMs, signal }: CommandPlace,
): Promise<Ending> => {
  let stopped: Ending;
  let pid: number | undefined;
  let finish = (): void => {};
  const stop = (how: string): void => {
    if (stopped !== undefined || pid === undefined) return;
    stopped = how;
    finish = endTree(pid);
  };
  const timer = setTimeout(stop, timeoutMs, `took longer than ${timeoutMs / 1000} s`);
  const cancel = (): void => stop('was stopped');
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    const child = spawn('sh', ['-c', command], {
      cwd: folder,
      env: { ...process.env, ...environment },
      // Standard output is for our own result.
      stdio: ['ignore', STDERR_FD, STDERR_FD],
      detached: true,
    });
    pid = child.pid;
    const exit = await once(child, 'exit');
    return stopped ?? endingOf(...(exit as [number | null, NodeJS.Signals | null]));
  } catch (error) {
    return `could not be started: ${reasonOf(error)}`;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', cancel);
    finish();
  }
};

/** Where a command runs, what it is told, and how long it may take. */
export interface CommandPlace {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Stops it; left out for one that has to come to its end. */
  readonly signal?: AbortSignal | undefined;
}

/** A command as a message shows it. */
export const shortenCommand = (command: string): string => {
  const line = command.trim().split('\n')[0] ?? '';
  return line.length > SHOWN || line !== command.trim() ? `${line.slice(0, SHOWN)}…` : line;
};

/** Runs a group's hook, if it has one; never rejects. */
export const runHook = async (
  group: Group,
  hook: 'before' | 'after',
  folder: string,
  signal?: AbortSignal,
): Promise<HookOutcome | undefined> => {
  const command = group[hook];
  if (command === undefined) return undefined;
  const began = performance.now();
  const environment = { NVSNAP_GROUP: group.name, NVSNAP_HOOK: hook };
  const how = await runCommand(command, {
    folder,
    environment,
    signal,
    timeoutMs: group.timeoutMs,
  });
  const details = { group: group.name, command: shortenCommand(command), how: how ?? '' };
  return {
    group: group.name,
    hook,
    command,
    error: how === undefined ? null : failureOf(fault(`${hook}-failed`, details)),
    elapsedMs: Math.round(performance.now() - began),
  };
};
