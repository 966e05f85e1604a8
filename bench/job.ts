// What a case gets to work with, and what it hands back.

import type { Laps } from './measure.js';
import { median } from './measure.js';
import type { BenchOptions, CaseName } from './options.js';
import type { Scratch } from './scratch.js';

export interface Job {
  readonly scratch: Scratch;
  readonly options: BenchOptions;
  /** True when the peer of that name is installed. */
  has(peer: string): boolean;
  /** Path of the image of so many bytes, made when first asked for. */
  image(bytes: number): Promise<string>;
  /** Says what goes on. */
  say(sentence: string): void;
}

/** How many times faster we must be than a peer. */
export interface Goal {
  readonly peer: string;
  readonly ratio: number;
}

/** Ours against one peer. */
export interface Ratio {
  readonly peer: string;
  /** Peer's time divided by ours: the median of the pairs, the lowest and the highest. */
  readonly speed: number;
  readonly lowest: number;
  readonly highest: number;
  readonly goal: number;
  /** Our bytes divided by the peer's, where both made files. */
  readonly bytes: number | undefined;
}

export interface Result {
  readonly case: CaseName;
  readonly title: string;
  /** Bytes of the image. */
  readonly imageBytes: number;
  /** Ours first. */
  readonly laps: readonly Laps[];
  readonly ratios: readonly Ratio[];
  /** Goals whose peer is not installed. */
  readonly missing: readonly string[];
  /** Outputs that were held against the image and are equal to it. */
  readonly verified: readonly string[];
}

const compare = (ours: Laps, peer: Laps, goal: number): Ratio => {
  const pairs = peer.milliseconds.map((time, round) => time / (ours.milliseconds[round] ?? 0));
  return {
    peer: peer.name,
    speed: median(pairs),
    lowest: Math.min(...pairs),
    highest: Math.max(...pairs),
    goal,
    bytes: ours.bytes && peer.bytes ? ours.bytes / peer.bytes : undefined,
  };
};

/** Makes a result of the laps of a race, ours being the first. */
export const resultOf = (
  what: Pick<Result, 'case' | 'title' | 'imageBytes' | 'verified'>,
  laps: readonly Laps[],
  goals: readonly Goal[],
): Result => {
  const [ours, ...peers] = laps;
  if (!ours) throw new Error('A race has at least one contender.');
  const found = (goal: Goal): Laps | undefined => peers.find(({ name }) => name === goal.peer);
  return {
    ...what,
    laps,
    ratios: goals.flatMap((goal) => {
      const peer = found(goal);
      return peer ? [compare(ours, peer, goal.ratio)] : [];
    }),
    missing: goals.filter((goal) => !found(goal)).map(({ peer }) => peer),
  };
};
