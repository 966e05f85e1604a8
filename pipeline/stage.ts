// The stage contract ("nvsnap/stage"). A stage is a module whose default export is `stage({ ... })`; the engine's own
// are written against it too. `name` and `open` are all that is required: what is absent lets everything pass.
//
//     parse    once, on the main thread, before the first byte moves
//     open     once in every thread that runs the stage
//     batch    for every batch that has something for it; in one thread one at a time
//     encode   instead of batch, in a reversible stage: for every cluster to be stored; decode undoes it
//     flush    once in every thread, when all batches are through; what it returns goes to conclude
//     close    once in every thread, also when the run failed
//     conclude once, on the main thread: what the stage has to say in the end
//
// Bytes are lent: a batch, and every view of it, belongs to the stage until `batch` returns (or its promise resolves),
// those of encode and decode until these return. Nobody may keep them. A stage never changes which part of the image
// a batch stands for, and changes bytes only where `changes` says so. It may tighten what the engine does, never loosen.

import type { Batch } from './slab.js';

/** What may be known of a cluster: to be stored, to be stored encoded, now zero, as in the parent, as another one. */
export type KindName = 'plain' | 'packed' | 'zero' | 'same' | 'twin';

/** A place between two built-in stages. */
export type Gap =
  | 'before:dedup'
  | 'before:pad'
  | 'before:compress'
  | 'before:write'
  | 'after:write';

/** What a stage is told where it is opened. */
export interface Desk {
  /** Bytes. */
  readonly clusterSize: number;
  /** True once the run was cancelled: a stage that waits for something should stop waiting. */
  cancelled(): boolean;
}

/** What a stage's options are parsed for. */
export interface Setting {
  /** The uuid of the store. */
  readonly store: string;
  /** Bytes. */
  readonly clusterSize: number;
  /** What `keeps` gave when the store was made; undefined for a new store, and for what is not reversible. */
  readonly kept: unknown;
}

/** A stage as one thread has it open. All of it may be asynchronous. */
export interface StageThread<Part = unknown> {
  /** Does the stage's work on one batch, in place. Throwing fails the run, naming stage and offset. */
  batch?(batch: Batch): void | Promise<void>;
  /** Writes what is to be stored for `bytes` into `into`; returns how many bytes, or 0 to leave them as they are. */
  encode?(bytes: Buffer, into: Buffer): number | Promise<number>;
  /** Writes what `encode` was given into `into`; returns how many bytes. Throws when it cannot: trust nothing. */
  decode?(bytes: Buffer, into: Buffer): number | Promise<number>;
  /** What this thread has found out: plain data. */
  flush?(): Part | Promise<Part>;
  close?(): void | Promise<void>;
}

/** What makes a stage reversible: stored bytes are what `encode` made, and reading undoes it. */
export interface Reversible<Options> {
  /** `encode` makes at most so many bytes more than it is given. */
  readonly growth: number;
  /** What the store keeps of the options, as JSON; never a secret. */
  keeps?(options: Options): unknown;
  /** A secret of 32 bytes for the store's digests, which would tell of the content otherwise. */
  digestKey?(options: Options): Uint8Array;
}

/** A stage. `Options` is plain data: it is sent to each thread. */
export interface Stage<Options = unknown, Part = unknown> {
  /** Lower-case letters, digits and hyphens. */
  readonly name: string;
  /** Of what it writes: a store is read with the version that it was written with. Default: "1". */
  readonly version?: string;
  /** One line for "nvsnap stages". */
  readonly summary?: string;
  /** What each option means, by its name, for "nvsnap stages". */
  readonly usage?: Readonly<Record<string, string>>;
  /** Makes options of what the user wrote; throws an Error that says what is wrong. Default: there are none. */
  parse?(words: Readonly<Record<string, unknown>>, setting: Setting): Options | Promise<Options>;
  /** Where it may stand, its usual place first. Default: before:compress; a reversible one is at before:write. */
  readonly at?: readonly Gap[];
  /** The kinds of cluster it deals with: a batch without any passes it by. Default: plain. */
  readonly takes?: readonly KindName[];
  /** The kinds it may make of them. Default: none. */
  readonly makes?: readonly ('zero' | 'same')[];
  /** True when it may change the bytes of what it takes; only before:dedup. */
  readonly changes?: boolean;
  readonly reversible?: Reversible<Options>;
  /** True when it has so little to do that it may share the threads of the stage before it: no hop between them. */
  readonly light?: boolean;
  /** Most threads it works in; with one, batches come in the image's order. Default: any number. */
  readonly threads?: number;
  /** Seconds after which a batch counts as stuck. Default: 60. */
  readonly patience?: number;
  open(options: Options, desk: Desk): StageThread<Part> | Promise<StageThread<Part>>;
  /** Sums up what the threads' flush gave: figures and words by name, for the summary of the run. */
  conclude?(parts: readonly Part[]): Readonly<Record<string, string | number>>;
}

/** Declares a stage; the default export of its module. */
export const stage = <Options = unknown, Part = unknown>(
  definition: Stage<Options, Part>,
): Stage<Options, Part> => definition;
