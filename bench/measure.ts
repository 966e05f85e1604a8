// Measuring: whole processes by the wall clock, contenders in turn, round after round.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import type { Readable } from 'node:stream';
import type { Scratch } from './scratch.js';

/** How much of what a failed process said is worth repeating. */
const LAST_WORDS = 600;

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** One way to do a job. */
export interface Contender {
  readonly name: string;
  /** Undoes what the last round left; not timed. */
  prepare?(): void | Promise<void>;
  /** All begin at once; the time ends with the last. */
  commands(round: number): readonly Command[];
  /** Files made. Their data reaches the disk within the time measured. */
  outputs?(): readonly string[];
}

/** One contender's figures, one per round. */
export interface Laps {
  readonly name: string;
  readonly milliseconds: readonly number[];
  /** Bytes of the files made, in the last round. */
  readonly bytes: number | undefined;
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
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${program} ${args.join(' ')} ended with ${code ?? signal}: ${words}`));
    });
  });
  await Promise.all([ended, child.stdout && consume?.(child.stdout)]);
};

/** Returns when the file's data is on the disk: nearly at once if its maker has seen to it. */
const syncFile = (path: string): void => {
  const fd = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
};

/** One contender's round: milliseconds. */
const time = async (scratch: Scratch, contender: Contender, round: number): Promise<number> => {
  await contender.prepare?.();
  const commands = contender.commands(round);
  const began = performance.now();
  await Promise.all(commands.map((command) => execute(scratch, command)));
  for (const path of contender.outputs?.() ?? []) syncFile(path);
  return performance.now() - began;
};

/**
 * Lets the contenders run in turn, `rounds` times, every other round in reverse order, so that what
 * disturbs the machine disturbs all of them.
 */
export const race = async (
  scratch: Scratch,
  contenders: readonly Contender[],
  rounds: number,
  beforeRound: (round: number) => void = () => {},
): Promise<Laps[]> => {
  const times = new Map<Contender, number[]>(contenders.map((contender) => [contender, []]));
  for (let round = 1; round <= rounds; round += 1) {
    beforeRound(round);
    const order = round % 2 === 1 ? contenders : contenders.toReversed();
    for (const contender of order) {
      times.get(contender)?.push(await time(scratch, contender, round));
    }
  }
  return contenders.map((contender) => {
    const outputs = contender.outputs?.();
    return {
      name: contender.name,
      milliseconds: times.get(contender) ?? [],
      bytes: outputs?.reduce((sum, path) => sum + fs.statSync(path).size, 0),
    };
  });
};

/** The middle value; of an even number, the lower of the two in the middle. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;

/** Reads a file once, so that the page cache has it. */
export const warm = (path: string): void => {
  const fd = fs.openSync(path, 'r');
  const into = Buffer.allocUnsafe(4 * 1024 * 1024);
  try {
    while (fs.readSync(fd, into) > 0);
  } finally {
    fs.closeSync(fd);
  }
};
