// holes: a sparse file as long as the image, in which only what changed since the parent has data, as Firecracker
// writes its diff snapshots.
//
// holes:FILE   the file says what changed; the image itself is complete, and is read.
// holes        the image is such a file: what it has no data for is the parent's.

import fs from 'node:fs';
import { dataExtents, fault } from '../disk/index.js';
import type { DirtySource, Epoch, Since, TrackedImage } from './source.js';
import type { SourceKind, SourceSpec } from './spec.js';
import { trackerFileSource, unsuitable } from './tracker-file.js';

const besides = (spec: SourceSpec): DirtySource =>
  trackerFileSource({
    spec,
    certainty: 'exact',
    read: (file, { size }) => {
      if (file.size !== size) {
        throw unsuitable(
          spec.name,
          `${file.path} has ${file.size} bytes, but the image has ${size}`,
        );
      }
      return [...dataExtents(file.fd, { start: 0, end: size })];
    },
  });

/** When the image was last written, in nanoseconds: what tells one such file from the next. */
const writtenAt = ({ fd }: TrackedImage): bigint => fs.fstatSync(fd, { bigint: true }).mtimeNs;

/** An epoch's id, as "holes:1795559580072402505": when the file was written that it was about. */
const EPOCH_ID = /^holes:(\d+)$/;

/**
 * Why the file does not count from `since`, where that can be seen. Nothing in it says what it counts from, and
 * there is no image to be read instead.
 */
const misfitOf = (spec: SourceSpec, image: TrackedImage, since: Since): string | undefined => {
  const named = spec.values.get('since');
  if (named !== undefined && named !== since.uuid) {
    return `it counts from ${named}, but the parent is ${since.uuid}`;
  }
  if (since.imageSize !== image.size) {
    return `it has ${image.size} bytes, but the parent has ${since.imageSize}`;
  }
  const before = EPOCH_ID.exec(since.epoch)?.[1];
  return before !== undefined && writtenAt(image) <= BigInt(before)
    ? 'it is not newer than the file that the parent was made from'
    : undefined;
};

const instead = (spec: SourceSpec): DirtySource => ({
  name: spec.name,
  certainty: 'exact',
  begin: async (image, since): Promise<Epoch> => {
    const { path, fd, size } = image;
    const extents = [...dataExtents(fd, { start: 0, end: size })];
    const misfit = since ? misfitOf(spec, image, since) : 'there is no parent to complete them';
    // As a copy looks that has lost its holes: its zeros would be taken for the image's.
    const dense = extents[0]?.start === 0 && extents[0].end === size;
    const problem = misfit ?? (dense ? 'it has no holes to tell what did not change' : undefined);
    if (problem !== undefined) throw fault('changes-unsuitable', { path, problem });
    return {
      id: `holes:${writtenAt(image)}`,
      changes: { known: true, extents: () => extents },
      frozen: { path, fd, onlyChanges: true },
      commit: async () => {},
      dispose: async () => {},
    };
  },
});

export const holesKind: SourceKind = {
  name: 'holes',
  usage: 'holes[:FILE][,since=UUID]',
  argument: 'optional',
  namesPath: true,
  keys: ['since'],
  open: (spec) => (spec.argument === undefined ? instead(spec) : besides(spec)),
};
