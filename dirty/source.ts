// What a dirty source is ("nvsnap/source"): something that knows which parts of an image may have changed since a
// parent snapshot. It may name too much, never too little; where it cannot know, it says why, and all is read.
//
// A source of a user's own is a module whose default export is `source({ name, open })`. For each take:
//
//     open     once, with what stands behind the module's name
//     begin    draws the line: what has changed up to here is named, what changes from here on is for the next take
//     commit   the snapshot is durable
//     dispose  in the end, also when the take failed

import type { Extent } from '../disk/index.js';

/** The image as a dirty source sees it. */
export interface TrackedImage {
  readonly path: string;
  /** Absolute path with links resolved. */
  readonly realPath: string;
  readonly fd: number;
  /** Size in bytes. */
  readonly size: number;
  /** Which file or device it is, whatever its path: another one with the same path has another. */
  readonly identity: string;
  /** True when its writers are kept waiting until the line is drawn: what can be done before or after is not done then. */
  readonly stilled?: boolean | undefined;
}

/** The snapshot that changes are counted from, as its record has it. */
export interface Since {
  readonly uuid: string;
  /** The `id` of the epoch that was drawn when it was taken; "" for none. */
  readonly epoch: string;
  /** When it was taken, in milliseconds since 1970. */
  readonly takenAt: number;
  /** Size of its image in bytes. */
  readonly imageSize: number;
}

/** What may have changed. */
export type Changes =
  | {
      readonly known: true;
      /** Sorted, disjoint, within the image; in bytes, on any boundary. */
      extents(): Iterable<Extent>;
    }
  /** Why all has to be read: the end of a sentence, as "the process has been restarted". */
  | { readonly known: false; readonly reason: string };

/** A file to be read in the image's place. */
export interface Frozen {
  readonly path: string;
  readonly fd: number;
  /** True when it holds only what changed, and holes for all that is the parent's. */
  readonly onlyChanges: boolean;
}

/** The changes up to the line that `begin` drew. */
export interface Epoch {
  /** A name for the line, kept in the snapshot's record; at most 100 bytes of UTF-8. */
  readonly id: string;
  readonly changes: Changes;
  /** What to read, where it is not the image itself. Its owner is the epoch. */
  readonly frozen?: Frozen;
  /** Snapshot `uuid` is durable: these changes need not be named again. */
  commit(uuid: string): Promise<void>;
  /** The snapshot failed, or is done: without `commit` before, the changes stay named. Never throws. */
  dispose(): Promise<void>;
}

export interface DirtySource {
  /** At most 100 bytes of UTF-8. */
  readonly name: string;
  /** `exact` names only what changed (in its own unit), `superset` may name more. Never less. */
  readonly certainty: 'exact' | 'superset';
  /**
   * Draws the line. Without `since` there is no parent, and the changes do not matter. `store` is the uuid of the
   * store that the snapshot goes to: what a source keeps for one store it can tell from what it keeps for another.
   */
  begin(image: TrackedImage, since: Since | undefined, store?: string): Promise<Epoch>;
}

/** What a source is opened for. */
export interface SourceSetting {
  /** Absolute path of the folder that relative paths count from. */
  readonly folder: string;
}

/** A dirty source that people can name: "--dirty ./mine.js,key=value". */
export interface Source {
  /** For messages: lower-case letters, digits and hyphens. */
  readonly name: string;
  /** One line for "nvsnap stages". */
  readonly summary?: string;
  /** What each option means, by its name; others are refused. Default: there are none. */
  readonly usage?: Readonly<Record<string, string>>;
  /** Makes a source of what the user wrote; throws an Error that says what is wrong. */
  open(
    words: Readonly<Record<string, string>>,
    setting: SourceSetting,
  ): DirtySource | Promise<DirtySource>;
}

/** Declares a source; the default export of its module. */
export const source = (definition: Source): Source => definition;
