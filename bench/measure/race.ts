// Measuring: whole processes by the wall clock, contenders in turn, round after round.

import type { Laps } from '../result.js';
import { bytesOf, syncPath } from './files.js';
import { type Command, execute, hear } from './process.js';
import type { Scratch } from './scratch.js';

/** One way to do a job. */
export interface Contender {
  readonly name: string;
  /** Undoes what the last round left; not timed. */
  prepare?(round: number): void | Promise<void>;
  /** All begin at once; the time ends with the last. */
  commands(round: number): readonly Command[];
  /** Files and folders made. Their data reaches the disk within the time measured. */
  outputs?(): readonly string[];
  /** Gets what its only command printed. */
  heard?(text: string): void;
  /** Throws unless what the last round made is right; called right after it, not timed. */
  prove?(): Promise<unknown>;
  /** Where on a curve this is. */
  readonly at?: number | string;
  /** Bytes worked on, where they are not those of the race. */
  readonly work?: number;
}

/** One contender's round: milliseconds. */
const time = async (scratch: Scratch, contender: Contender, round: number): Promise<number> => {
  await contender.prepare?.(round);
  const commands = contender.commands(round);
  const [only] = commands;
  const began = performance.now();
  let text: string | undefined;
  if (contender.heard && only) text = await hear(scratch, only);
  else await Promise.all(commands.map((command) => execute(scratch, command)));
  for (const path of contender.outputs?.() ?? []) syncPath(path);
  const milliseconds = performance.now() - began;
  if (text !== undefined) contender.heard?.(text);
  return milliseconds;
};

/** Anything that can be timed. */
export interface Runner {
  readonly name: string;
  readonly at?: number | string | undefined;
  /** Bytes worked on in a round, for the rate. */
  readonly work: number | undefined;
  /** Does it once; resolves to milliseconds. */
  run(round: number): Promise<number>;
  /** Bytes of the files made in the last round. */
  made?(): number | undefined;
}

/**
 * Lets the runners run in turn, round after round, every other round in reverse order, so that what
 * disturbs the machine disturbs all of them. The first round is in their order: whoever stands behind
 * another may use what that one has made.
 */
export const inTurn = async (
  runners: readonly Runner[],
  rounds: number,
  beforeRound?: (round: number) => void | Promise<void>,
): Promise<Laps[]> => {
  const times = new Map<Runner, number[]>(runners.map((runner) => [runner, []]));
  for (let round = 1; round <= rounds; round += 1) {
    await beforeRound?.(round);
    const order = round % 2 === 1 ? runners : runners.toReversed();
    for (const runner of order) times.get(runner)?.push(await runner.run(round));
  }
  return runners.map((runner) => ({
    name: runner.name,
    milliseconds: times.get(runner) ?? [],
    work: runner.work,
    made: runner.made?.(),
    ...(runner.at === undefined ? {} : { at: runner.at }),
  }));
};

export interface Race {
  readonly rounds: number;
  /** Bytes that each contender works on in a round, for the rate. */
  readonly work: number | undefined;
  /** What no contender could beat. */
  readonly limits?: readonly Runner[];
  beforeRound?(round: number): void | Promise<void>;
}

/** How a race went: the contenders, and the limits. */
export interface Outcome {
  readonly laps: readonly Laps[];
  readonly limits: readonly Laps[];
}

/** Lets contenders run in turn, and the limits behind them in the same rounds. */
export const race = async (
  scratch: Scratch,
  contenders: readonly Contender[],
  { rounds, work, limits = [], beforeRound }: Race,
): Promise<Outcome> => {
  const runners = contenders.map((contender): Runner => {
    let made: number | undefined;
    return {
      name: contender.name,
      at: contender.at,
      work: contender.work ?? work,
      run: async (round) => {
        const milliseconds = await time(scratch, contender, round);
        // Now: the next may write to the same file.
        made = contender.outputs?.().reduce((sum, path) => sum + bytesOf(path), 0);
        if (round === rounds) await contender.prove?.();
        return milliseconds;
      },
      made: () => made,
    };
  });
  const all = await inTurn([...runners, ...limits], rounds, beforeRound);
  return { laps: all.slice(0, runners.length), limits: all.slice(runners.length) };
};
