// reflink on real disks: under the examiner, and with all that a file system can do to a file between two takes. What
// is taken is judged by a copy of the image, restored as a whole.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { examineSource } from '../../dirty/examine.js';
import { openSource } from '../../dirty/index.js';
import { restore, take } from '../../snapshot/index.js';
import { CLONE_DISKS, clonesIn, type DiskKind, withCloneDisk, xfsIo } from '../tools/clone-disk.js';
import { DISK_EDITS, type DiskEdit, ROOM_EDITS, XFS_EDITS } from '../tools/disk-edits.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';

t.setTimeout(240_000);

const PAGE = 4096;
const MiB = 2 ** 20;

for (const kind of CLONE_DISKS) {
  t.test(`${kind.name} under the examiner`, (t) =>
    withCloneDisk(t, kind, async ({ folder }) => {
      let worlds = 0;
      await examineSource(t, {
        name: `reflink on ${kind.name}`,
        unit: PAGE,
        make: (size) => {
          const own = join(folder, `world-${worlds++}`);
          fs.mkdirSync(own);
          const image = join(own, 'image');
          fs.writeFileSync(image, Buffer.alloc(size, 'nvdimm '));
          return {
            image,
            source: openSource('reflink'),
            write: (offset, bytes) => patch(image, bytes, offset),
            reopen: () => openSource('reflink'),
          };
        },
      });
    }),
  );
}

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

/** Takes after each of all edits, in an order of its own, twice; some of them with an image of another length. */
const takeAll = async (t: Test, disk: string, kind: DiskKind, seed: number): Promise<void> => {
  const random = new Random(seed);
  const [image, frozen] = [join(disk, 'image'), join(disk, 'frozen')];
  const work = tempDir(t);
  const [store, output] = [join(work, 'store'), join(work, 'out')];
  let size = 12 * MiB + 5 * PAGE + 77;
  makeImage(image, random, size);
  if (!kind.options) xfsIo(image, [`falloc ${size - MiB / 2} ${MiB / 4}`]);
  await take({ image, store, tag: 'first', clusterSize: PAGE, dirty: 'reflink' });
  const edits = editsOf(kind);
  const names = Object.keys(edits).flatMap((name) => [name, name]);
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

for (const kind of CLONE_DISKS) {
  t.test(`${kind.name}: whatever happens to a file between two takes`, (t) =>
    withCloneDisk(t, kind, async ({ folder }) => {
      const seed = Number(process.env.NVSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31));
      await takeAll(t, folder, kind, seed);
      t.pass(`every snapshot is what the image was (seed ${seed})`);
    }),
  );
}
