// Takes with reflink between which a file system does to the image all it can.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { restore, take } from '../../snapshot/index.js';
import { clonesIn, type DiskKind, xfsIo } from './clone-disk.js';
import { DISK_EDITS, type DiskEdit, ROOM_EDITS, XFS_EDITS } from './disk-edits.js';
import { patch, Random, sameFile, tempDir } from './files.js';

const PAGE = 4096;
const MiB = 2 ** 20;

/** An image with data, some of which can be compressed, and holes. */
const makeImage = (path: string, random: Random, size: number): void => {
  fs.writeFileSync(path, '');
  fs.truncateSync(path, size);
  for (let at = 0; at + MiB < size; at += 3 * MiB) {
    patch(path, random.bytes(MiB), at);
    patch(path, Buffer.alloc(MiB / 2, `text that shrinks ${at} `), at + MiB);
  }
};

const editsOf = ({ type, options }: DiskKind): Readonly<Record<string, DiskEdit>> => {
  if (options) return DISK_EDITS;
  return { ...DISK_EDITS, ...ROOM_EDITS, ...(type === 'xfs' ? XFS_EDITS : {}) };
};

/**
 * Takes after each of all edits, in an order of its own; some of them with an image of another length. Every snapshot is
 * restored and held against a copy of the image. Fails the test where one is not the same.
 */
export const takeAfterEdits = async (
  t: Test,
  disk: string,
  kind: DiskKind,
  seed: number,
): Promise<void> => {
  const random = new Random(seed);
  const [image, frozen] = [join(disk, 'image'), join(disk, 'frozen')];
  const work = tempDir(t);
  const [store, output] = [join(work, 'store'), join(work, 'out')];
  let size = 12 * MiB + 5 * PAGE + 77;
  makeImage(image, random, size);
  if (!kind.options) xfsIo(image, [`falloc ${size - MiB / 2} ${MiB / 4}`]);
  await take({ image, store, tag: 'first', clusterSize: PAGE, dirty: 'reflink' });
  const edits = editsOf(kind);
  const names = Object.keys(edits);
  const takes = names.length;
  let named = 0;
  for (let left = names.length; left > 0; left -= 1) {
    const [name = ''] = names.splice(random.below(left), 1);
    const edit = edits[name] as DiskEdit;
    xfsIo(
      image,
      edit(random, size).map((command) => command.replace('%', image)),
    );
    if (random.below(5) === 0) {
      size += random.below(2) === 0 ? random.below(3 * PAGE) : -random.below(3 * PAGE);
      fs.truncateSync(image, size);
    }
    fs.copyFileSync(image, frozen);
    const tag = `after ${left}`;
    // Nothing but the places may say what has changed.
    const { dirty } = await take({ image, store, tag, dirty: 'reflink', audit: 0 });
    await restore({ store, snapshot: tag, output, force: true });
    if (!sameFile(output, frozen) || dirty.fallback !== null || clonesIn(disk).length !== 1) {
      t.fail(`${name}: ${dirty.fallback ?? 'not as it was'}`, {
        seed,
        left,
        clones: clonesIn(disk),
      });
    }
    named += dirty.candidateBytes / size;
  }
  const share = Math.round((100 * named) / takes);
  // What is compressed is named whenever it is there, since its place does not tell what it is.
  t.equal(kind.options !== undefined, share > 10, `${share} % of the image were named`);
};
