// What a dirty source is: something that knows which parts of an image may have changed since a
// parent snapshot. It may name too much, never too little.

import type { Extent } from '../disk/index.js';

/** The image as a dirty source sees it. */
export interface TrackedImage {
  readonly path: string;
  readonly fd: number;
  /** Size in bytes. */
  readonly size: number;
}

/** The changes up to the line that `begin` drew. */
export interface Epoch {
  /** A name for the line, kept in the snapshot's record. */
  readonly id: string;
  /** What may have changed: sorted, disjoint, within the image. */
  extents(): Iterable<Extent>;
  /** The snapshot is durable: these changes need not be named again. */
  commit(): Promise<void>;
  /** The snapshot failed, or is done: without `commit` before, the changes stay named. */
  dispose(): Promise<void>;
}

export interface DirtySource {
  readonly name: string;
  /** `exact` names only what changed, `superset` may name more. Never less. */
  readonly certainty: 'exact' | 'superset';
  /** Draws the line. `since` is the parent's uuid; undefined when there is no parent. */
  begin(image: TrackedImage, since: string | undefined): Promise<Epoch>;
}
