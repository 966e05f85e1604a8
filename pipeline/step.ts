// A line of stages as the engine gets it.

import type { Batch } from './slab.js';

/** Where a stage's code is, and how many threads run it. */
export interface StagePlace {
  /** No two stages of a line have the same. */
  readonly name: string;
  /** URL of the module. */
  readonly module: string;
  readonly threads: number;
  /** Most threads it works in, also where every stage gets the same number. Default: any number. */
  readonly most?: number | undefined;
}

/** A stage in a line of stages. */
export interface StageUse extends StagePlace {
  /** Its name for people, where that is another one. */
  readonly title?: string | undefined;
  /** Plain data for `open`. */
  readonly options: unknown;
  /** True to start the threads when the run's first batch is read, since they are sure to pay. */
  readonly early?: boolean;
  /**
   * True when the stage may do its first batches on the main thread, until starting threads pays: for
   * stages that neither wait long nor leave anything running between batches.
   */
  readonly beginsHere?: boolean;
  /** Seconds without any batch coming back after which the stage counts as stuck. Default: it never does. */
  readonly patience?: number | undefined;
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
