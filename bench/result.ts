// What a case hands back: figures round by round, and what they are held against.

import type { StageReport } from '../pipeline/index.js';
import { median } from './measure/median.js';
import type { CaseName, Level } from './options.js';

/** One contender's figures. */
export interface Laps {
  readonly name: string;
  /** One per round. */
  readonly milliseconds: readonly number[];
  /** Bytes that were worked on in a round, for the rate; undefined where a rate means nothing. */
  readonly work: number | undefined;
  /** Bytes of the files made, in the last round. */
  readonly made: number | undefined;
  /** Where on the curve this is: a number, or what it is called. */
  readonly at?: number | string;
}

/** How fast we must be. */
export interface Goal {
  /** A peer or a limit. */
  readonly beside: string;
  /** Its time divided by ours. */
  readonly ratio: number;
  /** Our bytes divided by its, at most. */
  readonly bytes?: number;
}

/** Ours against a peer or a limit. */
export interface Ratio {
  readonly beside: string;
  /** Its time divided by ours: the median of the rounds, the lowest and the highest. */
  readonly speed: number;
  readonly lowest: number;
  readonly highest: number;
  readonly goal: number | undefined;
  /** Our bytes divided by its, where both made files; and at most how much it should be. */
  readonly bytes: number | undefined;
  readonly bytesGoal: number | undefined;
}

/** What the stages did, and what that means. */
export interface Insight {
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
  /** What limits it, in a sentence or two. */
  readonly words: string;
}

/** One batch at one stage, for a timeline; milliseconds since the run began. */
export interface Span {
  readonly stage: string;
  readonly offset: number;
  readonly from: number;
  readonly to: number;
}

/** The horizontal axis of a curve. */
export interface Axis {
  readonly label: string;
  readonly kind: 'bytes' | 'count' | 'percent' | 'names';
}

export interface Result {
  readonly level: Level;
  readonly case: CaseName;
  readonly title: string;
  /** Ours first; on a curve there are several for each `at`. None where nothing could be measured. */
  readonly laps: readonly Laps[];
  /** What no program on this machine could beat, measured in turn with the others. */
  readonly limits: readonly Laps[];
  readonly ratios: readonly Ratio[];
  /** What could not be measured, and why. */
  readonly missing: readonly string[];
  /** Whose output was held against what it must be, and is equal to it. */
  readonly verified: readonly string[];
  /** Stands for what was produced: equal for equal inputs. Empty where nothing was. */
  readonly digest: string;
  readonly insight?: Insight | undefined;
  readonly spans?: readonly Span[] | undefined;
  readonly axis?: Axis | undefined;
}

const compare = (ours: Laps, other: Laps, goal: Goal | undefined): Ratio => {
  const pairs = other.milliseconds.map((time, round) => time / (ours.milliseconds[round] ?? 0));
  return {
    beside: other.name,
    speed: median(pairs),
    lowest: Math.min(...pairs),
    highest: Math.max(...pairs),
    goal: goal?.ratio,
    bytes: ours.made && other.made ? ours.made / other.made : undefined,
    bytesGoal: goal?.bytes,
  };
};

/** What a case knows of itself. */
export type Findings = Pick<Result, 'title' | 'laps' | 'verified' | 'digest'> &
  Partial<Pick<Result, 'limits' | 'missing' | 'insight' | 'spans' | 'axis'>>;

/** Makes a result: the first laps are ours, and the others are held against them. */
export const resultOf = (
  where: Pick<Result, 'level' | 'case'>,
  findings: Findings,
  goals: readonly Goal[] = [],
): Result => {
  const { laps, limits = [], missing = [], axis } = findings;
  const [ours, ...peers] = laps;
  if (!ours) throw new Error('A race has at least one contender.');
  const others = axis ? [] : [...peers, ...limits];
  return {
    ...where,
    ...findings,
    limits,
    missing,
    ratios: others.map((other) =>
      compare(
        ours,
        other,
        goals.find(({ beside }) => beside === other.name),
      ),
    ),
  };
};

/** Stands for what could not be measured at all, and says why. */
export const unmeasured = (
  where: Pick<Result, 'level' | 'case'>,
  title: string,
  why: string,
): Result => ({
  ...where,
  title,
  laps: [],
  limits: [],
  ratios: [],
  missing: [why],
  verified: [],
  digest: '',
});
