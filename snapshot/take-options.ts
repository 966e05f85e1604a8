// What a take is asked for, and what it says it did.

import type { DirtySource } from '../dirty/index.js';
import type { DigestAlgorithm } from '../disk/index.js';
import type { StageReport } from '../pipeline/index.js';
import type { CodecName } from '../qcow2/index.js';
import type { StageSummary } from '../stages/index.js';
import type { AuditOptions, DirtyReport } from './candidates.js';
import type { Dedup } from './draft.js';
import type { StageOptions } from './plugged.js';
import type { RunOptions } from './run-options.js';
import type { SourceRequest } from './sources.js';

export interface TakeOptions extends RunOptions, AuditOptions, StageOptions {
  /** Path of the image, or "-" for standard input. */
  readonly image: string;
  /** Path of the store; made when it does not exist. */
  readonly store: string;
  /** Default: made from the time. */
  readonly tag?: string | undefined;
  /** A tag, "#id", uuid prefix, "latest" (default) or "none". */
  readonly parent?: string | undefined;
  /** Size in bytes of an image from standard input. */
  readonly size?: number | undefined;
  /** Bytes; for a new store (default 65536), else it must be the store's. */
  readonly clusterSize?: number | undefined;
  readonly compression?: CodecName | undefined;
  readonly digest?: DigestAlgorithm | undefined;
  /** The codec's own level. */
  readonly level?: number | undefined;
  /**
   * What says which parts of the image may have changed since the parent: a source, or one by name as in
   * "bitmap:/run/vm/dirty" or "./mine.js,key=value". Default: "scan", everything may have.
   */
  readonly dirty?: DirtySource | SourceRequest | string | undefined;
  /**
   * Where a dependent snapshot looks for content that is stored already: at the same offset of the parent ("parent",
   * default), or anywhere in the parent and in the image ("store").
   */
  readonly dedup?: Dedup | undefined;
  /** Take even when nothing in the image looks like the parent's. */
  readonly otherImage?: boolean | undefined;
  /** A file that records every write and sync of the store, for tests and audits. */
  readonly ioLog?: string | undefined;
  /**
   * Called when all that can be looked at beforehand is found good; the line is drawn when it resolves, and if it
   * rejects, so does the take. Left out: at once.
   */
  readonly ready?: (() => Promise<void>) | undefined;
  /**
   * Does what reads the image and writes the store when it pleases, once the line is drawn: for many takes, of
   * which only some are to be at work. Left out: at once.
   */
  readonly turn?: (<T>(work: () => Promise<T>) => Promise<T>) | undefined;
  /** Called once when the image may change again: it is read. A take that fails before need not call it. */
  readonly released?: (() => void) | undefined;
}

/** What a take did. Sizes in bytes, times in milliseconds. */
export interface TakeResult {
  readonly store: string;
  readonly id: string;
  readonly tag: string;
  readonly uuid: string;
  /** Tag of the parent; null when the snapshot depends on none. */
  readonly parent: string | null;
  readonly imageBytes: number;
  /** Image bytes read; the rest were holes. */
  readonly readBytes: number;
  /** How far the dirty source was followed. */
  readonly dirty: DirtyReport;
  readonly changedClusters: number;
  /** Clusters that became zero. */
  readonly zeroedClusters: number;
  /** Clusters that refer to one with the same content: an earlier one of the image, or elsewhere in the parent. */
  readonly twinClusters: number;
  readonly storedClusters: number;
  /** Bytes of the stored clusters and payloads. */
  readonly storedBytes: number;
  readonly metadataBytes: number;
  readonly storeBytes: number;
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
  /** What the caller's stages have found out. */
  readonly summaries: readonly StageSummary[];
}
