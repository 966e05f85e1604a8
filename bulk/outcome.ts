// What became of a bulk run, job by job: data for a summary, a log or a program.

import { Fault, type FaultCode, type TakeResult } from '../snapshot/index.js';

/** A fault as data; "internal" is one that nobody has foreseen. */
export interface Failure {
  readonly code: FaultCode | 'internal';
  readonly message: string;
  readonly advice: string;
  readonly details: Readonly<Record<string, unknown>>;
  /** What the process would exit with, were it the only one. */
  readonly exitCode: number;
}

interface Named {
  readonly name: string;
  readonly image: string;
  readonly store: string;
  readonly group: string | null;
}

/** Snapshots that were removed from the store after the take. */
export interface Pruned {
  readonly removed: number;
  readonly freedBytes: number;
}

export type JobOutcome = Named &
  (
    | {
        readonly status: 'taken';
        readonly result: TakeResult;
        /** Null when nothing was to be removed, or that failed. */
        readonly pruned: Pruned | null;
        readonly pruneError: Failure | null;
      }
    | { readonly status: 'failed'; readonly error: Failure }
    | { readonly status: 'not-done'; readonly error: Failure }
  );

/** A point that was taken of a machine. Sizes in bytes, times in milliseconds. */
export interface MachineTaken {
  readonly tag: string;
  /** Null when the machine was not stopped. */
  readonly pauseMs: number | null;
  readonly imageBytes: number;
  readonly storedBytes: number;
  readonly elapsedMs: number;
}

/** What became of a machine's job. */
export type MachineOutcome = {
  readonly name: string;
  readonly qmp: string;
  readonly stores: string;
} & (
  | {
      readonly status: 'taken';
      readonly result: MachineTaken;
      /** How many points were removed; null when none was to be, or that failed. */
      readonly pruned: number | null;
      readonly pruneError: Failure | null;
    }
  | { readonly status: 'failed'; readonly error: Failure }
  | { readonly status: 'not-done'; readonly error: Failure }
);

/** How a group's command ended. */
export interface HookOutcome {
  readonly group: string;
  readonly hook: 'before' | 'after';
  readonly command: string;
  /** Null when it did what it should. */
  readonly error: Failure | null;
  readonly elapsedMs: number;
}

/** Sizes in bytes, times in milliseconds. */
export interface BulkResult {
  /** In the order of the jobs file. */
  readonly jobs: readonly JobOutcome[];
  readonly machines: readonly MachineOutcome[];
  /** In the order they ran. */
  readonly hooks: readonly HookOutcome[];
  readonly taken: number;
  readonly failed: number;
  readonly notDone: number;
  /** Of the images that were taken. */
  readonly imageBytes: number;
  readonly storedBytes: number;
  readonly elapsedMs: number;
}

/** An unknown thrown value as data. */
export const failureOf = (error: unknown): Failure => {
  if (error instanceof Fault) {
    const { code, message, advice, details, exitCode } = error;
    return { code, message, advice, details, exitCode };
  }
  return {
    code: 'internal',
    message: error instanceof Error ? error.message : String(error),
    advice: 'This should not happen; take this image by itself with --debug and report it.',
    details: {},
    exitCode: 1,
  };
};

const CALLER = { by: 'the caller' };

/** What was not done because the caller's signal said so. */
export const stoppedBy = (signal: AbortSignal | undefined): Failure => {
  const reason: unknown = signal?.reason;
  const by = reason instanceof Fault ? reason : new Fault({ code: 'cancelled', details: CALLER });
  return failureOf(by);
};

const DAMAGE_FOUND = 3;

/** 0 when everything asked for was done, 3 when damage was found, else 1. */
export const exitCodeOf = ({ jobs, machines, hooks }: BulkResult): 0 | 1 | 3 => {
  const failures = [
    ...[...jobs, ...machines].map((job) => (job.status === 'taken' ? job.pruneError : job.error)),
    ...hooks.map(({ error }) => error),
  ].filter((failure) => failure !== null);
  if (failures.length === 0) return 0;
  return failures.some(({ exitCode }) => exitCode === DAMAGE_FOUND) ? DAMAGE_FOUND : 1;
};

/** Adds up what became of the jobs. */
export const sumUp = (
  jobs: readonly JobOutcome[],
  machines: readonly MachineOutcome[],
  hooks: readonly HookOutcome[],
  elapsedMs: number,
): BulkResult => {
  const all = [...jobs, ...machines];
  const taken = all.filter((job) => job.status === 'taken');
  const count = (status: JobOutcome['status']): number =>
    all.filter((job) => job.status === status).length;
  return {
    jobs,
    machines,
    hooks,
    taken: taken.length,
    failed: count('failed'),
    notDone: count('not-done'),
    imageBytes: taken.reduce((sum, { result }) => sum + result.imageBytes, 0),
    storedBytes: taken.reduce((sum, { result }) => sum + result.storedBytes, 0),
    elapsedMs: Math.round(elapsedMs),
  };
};
