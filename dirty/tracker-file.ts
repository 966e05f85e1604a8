// What the sources have in common that read the dirt from a file which some other program writes. That program
// begins anew when a take has succeeded, and goes on gathering when it has failed.
//
// A file is believed when it counts from the parent: because `since=UUID` says so, or because the file beside
// it (FILE.since) does, which the last take wrote. And it must have been written after the parent was taken:
// one that was not has been forgotten to be renewed.

import fs from 'node:fs';
import { type Extent, errnoOf, fault, reasonOf } from '../disk/index.js';
import { LineFile } from './line-file.js';
import type { Changes, DirtySource, Epoch, Since, TrackedImage } from './source.js';
import type { SourceSpec } from './spec.js';

/** The kernel dates files by a clock that ticks every few milliseconds. */
const CLOCK_TICK_MS = 10;

const LINE_SUFFIX = '.since';

/** A tracker's file, open. */
export interface TrackerFile {
  readonly path: string;
  readonly fd: number;
  /** In bytes. */
  readonly size: number;
  /** When it was last written, in milliseconds since 1970. */
  readonly writtenAt: number;
}

export interface TrackerFileSource {
  readonly spec: SourceSpec;
  readonly certainty: DirtySource['certainty'];
  /** Reads what the file says of the image; a Fault (`dirty-unsuitable`) when it cannot be about it. */
  read(file: TrackerFile, image: TrackedImage): readonly Extent[];
}

export const unsuitable = (source: string, problem: string, cause?: unknown) =>
  fault('dirty-unsuitable', { source, problem }, cause);

const withTrackerFile = <T>(name: string, path: string, use: (file: TrackerFile) => T): T => {
  let fd: number;
  try {
    // A pipe that nobody writes to is not waited for.
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch (error) {
    const missing = errnoOf(error) === 'ENOENT';
    throw unsuitable(name, missing ? `${path} does not exist` : reasonOf(error), error);
  }
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw unsuitable(name, `${path} is not a regular file`);
    return use({ path, fd, size: stat.size, writtenAt: stat.mtimeMs });
  } finally {
    fs.closeSync(fd);
  }
};

/** Why what the file says does not count from `since`; undefined when it does. */
const misfitOf = (
  { name, values }: SourceSpec,
  line: LineFile | undefined,
  file: TrackerFile,
  image: TrackedImage,
  since: Since,
): string | undefined => {
  const named = values.get('since');
  if (named !== undefined && named !== since.uuid) {
    throw unsuitable(name, `${file.path} counts from ${named}, but the parent is ${since.uuid}`);
  }
  const misfit = line?.misfit(image, since);
  if (misfit !== undefined) return misfit;
  return file.writtenAt + CLOCK_TICK_MS < since.takenAt
    ? `${file.path} was last written before the parent was taken`
    : undefined;
};

/** A source whose dirt is in the file that its argument names. */
export const trackerFileSource = ({ spec, certainty, read }: TrackerFileSource): DirtySource => {
  const path = spec.argument as string;
  return {
    name: spec.name,
    certainty,
    begin: async (image, since): Promise<Epoch> =>
      withTrackerFile(spec.name, path, (file) => {
        const extents = read(file, image);
        const line = spec.values.has('since')
          ? undefined
          : new LineFile(spec.name, `${path}${LINE_SUFFIX}`, [file.fd, image.fd]);
        try {
          const misfit = since && misfitOf(spec, line, file, image, since);
          line?.draw(image);
          const changes: Changes =
            misfit === undefined
              ? { known: true, extents: () => extents }
              : { known: false, reason: misfit };
          return {
            id: spec.name,
            changes,
            commit: async (uuid) => line?.commit(uuid),
            dispose: async () => line?.close(),
          };
        } catch (error) {
          line?.close();
          throw error;
        }
      }),
  };
};
