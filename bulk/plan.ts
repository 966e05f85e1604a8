// What a jobs file asks for, checked and with its defaults filled in.

import type { KeepPolicy, SourceRequest, StageRequest, TakeOptions } from '../snapshot/index.js';

/** What a job may say of its take, or the file of all takes. */
export type JobOptions = Pick<
  TakeOptions,
  'parent' | 'compression' | 'clusterSize' | 'digest' | 'level' | 'otherImage' | 'audit' | 'dedup'
> & {
  /** Their relative paths count from the file's folder. */
  readonly dirty?: SourceRequest | undefined;
  readonly stages?: readonly StageRequest[] | undefined;
};

/** One image, and the store that gets a snapshot of it. Both paths are absolute. */
export interface Job {
  /** No two jobs have the same. */
  readonly name: string;
  readonly image: string;
  readonly store: string;
  readonly tag: string | undefined;
  readonly group: string | undefined;
  readonly options: JobOptions;
}

/** A running machine, and the folder of its points. */
export interface MachineJob {
  /** No two jobs have the same, of whichever kind. */
  readonly name: string;
  /** Where its QEMU listens: an absolute path, or a port. */
  readonly qmp: string;
  /** Absolute path. */
  readonly stores: string;
  readonly tag: string | undefined;
  readonly state: 'device' | 'none' | undefined;
  readonly freeze: 'reflink' | 'pause' | 'none' | undefined;
  readonly dirty: SourceRequest | undefined;
  /** A shell command, run in the folder of the jobs file. */
  readonly whilePaused: string | undefined;
  readonly maxPauseMs: number | undefined;
  readonly options: Pick<TakeOptions, 'compression' | 'clusterSize' | 'level'>;
}

/** Images that are to be of one moment: between two commands. */
export interface Group {
  readonly name: string;
  /** Shell commands: one that stills the images, one that lets them go on. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** Either may take so long, in milliseconds. */
  readonly timeoutMs: number;
}

/** How the jobs are repeated. */
export interface Schedule {
  readonly everyMs: number;
  /** Which snapshots stay in a store after a take; all without it. */
  readonly keep: KeepPolicy | undefined;
}

export interface Plan {
  /** Path of the jobs file, as the caller named it, and its folder, where hooks run. */
  readonly path: string;
  readonly folder: string;
  /** In the file's order. */
  readonly jobs: readonly Job[];
  readonly machines: readonly MachineJob[];
  /** Those that some job belongs to, in the file's order. */
  readonly groups: readonly Group[];
  /** Bytes for the batches of all takes together. */
  readonly memory: number | undefined;
  /** Takes at once. */
  readonly concurrency: number | undefined;
  /** Threads per stage that all takes share. */
  readonly threads: number | undefined;
  readonly watch: Schedule | undefined;
}
