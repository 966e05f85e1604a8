// The stage contract. A stage is a module whose default export is `stage({ ... })`. It is loaded once
// in each thread of its pool; `open` is called once there, then `batch` for every batch. What is absent
// passes through.
//
// Bytes are lent: a batch and every view of it belong to the stage only until `batch` returns (or its
// promise resolves). A stage may set `kinds`, `live`, `digests`, `starts` and `lengths`, and write to
// `data` and `packed`; it never changes which part of the image the batch stands for.

import type { Batch } from './slab.js';

/** What a stage may ask of the engine. */
export interface Desk {
  readonly clusterSize: number;
  /** True once the run was cancelled: a stage that waits for something should stop waiting. */
  cancelled(): boolean;
}

/** A stage as one thread has it open. */
export interface StageThread {
  /** Does this stage's work on one batch, in place. Throwing fails the run, naming stage and offset. */
  batch?(batch: Batch): void | Promise<void>;
}

/** A stage. `Options` is plain data: it is sent to each thread. */
export interface Stage<Options> {
  readonly name: string;
  open(options: Options, desk: Desk): StageThread | Promise<StageThread>;
}

/** Declares a stage; the default export of its module. */
export const stage = <Options>(definition: Stage<Options>): Stage<Options> => definition;

/** Where a stage's code is, and how many threads run it. */
export interface StagePlace {
  /** No two stages of a line have the same. */
  readonly name: string;
  /** URL of the module. */
  readonly module: string;
  readonly threads: number;
}

/** A stage in a line of stages. */
export interface StageUse extends StagePlace {
  /** Plain data for `open`. */
  readonly options: unknown;
  /** True to start the threads when the run's first batch is read, since they are sure to pay. */
  readonly early?: boolean;
  /**
   * True when the stage may do its first batches on the main thread, until starting threads pays: for
   * stages that neither wait long nor leave anything running between batches.
   */
  readonly beginsHere?: boolean;
  /** Asked on the main thread; a batch that is not wanted skips the hop. Default: all are. */
  wants?(batch: Batch): boolean;
  /** Asked on the main thread before the hop; true ends the batch here: nothing in it is left to do. */
  ends?(batch: Batch): boolean;
}

/** A step that needs no thread: it runs on the main thread, in image order. */
export interface MainStep {
  readonly name: string;
  main(batch: Batch): void;
}

export type Step = StageUse | MainStep;
