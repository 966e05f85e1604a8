// What a case gets to work with.

import type { Scratch } from './measure/scratch.js';
import type { BenchOptions } from './options.js';
import type { Subject } from './subject.js';

export interface Job {
  readonly scratch: Scratch;
  readonly options: BenchOptions;
  /** True when the peer of that name is installed. */
  has(peer: string): boolean;
  /** The image of so many bytes, as it was made: made when first asked for. One of ours is the last asked for. */
  subject(bytes: number): Promise<Subject>;
  /** Says what goes on. */
  say(sentence: string): void;
}

/** What says that a peer could not be measured. */
export const notInstalled = (peer: string): string =>
  `${peer} is not installed: scripts/bench-peers installs it.`;
