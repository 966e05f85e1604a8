// A stage under examination: what it says it does, and the lines in which it is tried.

import type { DigestOptions } from '../disk/index.js';
import type { KindName, Step } from '../pipeline/index.js';
import type { Watch } from './watch.js';

/** How a line is to be made. */
export interface LineSetting {
  /** Bytes. */
  readonly clusterSize: number;
  /** The image that comes by; its last cluster may be short. */
  readonly image: Buffer;
  readonly digests: DigestOptions;
  /** True to have the engine lend copies and look at everything. */
  readonly strict: boolean;
  readonly threads: number;
  /** Where the stage's own module is run in. */
  readonly watch: Watch;
  /** In a line that encodes and decodes: what becomes of payloads between the two. */
  readonly wear: Wear | undefined;
}

/** Does damage to the payload of cluster `i`, which begins at byte `start` of `packed`; returns its new length. */
export type Wear = (i: number, packed: Buffer, start: number, length: number) => number;

/** The steps of a line. */
export interface StageLine {
  /** What comes before the stage, as in a take. */
  readonly before: readonly Step[];
  /** The stage; where it encodes, all from there to where it is decoded again. */
  readonly stages: readonly Step[];
  /** Bytes that a payload may have more than a cluster. */
  readonly growth?: number;
  /** Files that it needs are removed. */
  close?(): void;
}

/** One way to use a stage. */
export interface LineKind {
  /** For messages: "before:dedup". */
  readonly name: string;
  /** True when the stage encodes, and the line decodes it again. */
  readonly codes?: boolean;
  /** True when what is encoded is in a frame of the engine's (docs/format.md). */
  readonly framed?: boolean;
  /** True when batches come without digests, since the content is to change. */
  readonly undigested?: boolean;
  /** True when the batches are those of a snapshot that is read: their digests are known. */
  readonly reads?: boolean;
  make(setting: LineSetting): StageLine | Promise<StageLine>;
}

/** A stage, as the examiner sees it. */
export interface StageSubject {
  readonly name: string;
  readonly takes: readonly KindName[];
  readonly makes: readonly KindName[];
  /** True when it may change the bytes of what it takes. */
  readonly changes: boolean;
  /** Most threads. */
  readonly threads: number;
  /** Seconds that it may be at a batch. */
  readonly patience: number;
  readonly lines: readonly [LineKind, ...LineKind[]];
}
