// Takes with reflink that are killed at any moment, each into what the last one left.

import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { restore, take } from '../../snapshot/index.js';
import { clonesIn } from './clone-disk.js';
import { patch, Random, sameFile, tempDir } from './files.js';
import { startNvsnap } from './nvsnap.js';

const SIZE = 8 * 2 ** 20;
/** How long a take may live once it has made its clone. */
const LONGEST_MS = 144;

/** True while a process has a file without a name open in a folder. */
const hasClone = (pid: number, folder: string): boolean => {
  try {
    const fds = fs.readdirSync(`/proc/${pid}/fd`);
    return fds.some((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${folder}/#`));
  } catch {
    return false; // The process has ended, or closed one in this moment.
  }
};

/** Kills takes of an image on a disk, sooner and later; no clone is left of them, and the next take is right. */
export const killClones = async (t: Test, folder: string, rounds: number): Promise<void> => {
  const [image, frozen, work] = [join(folder, 'image'), join(folder, 'frozen'), tempDir(t)];
  const [store, output] = [join(work, 'store'), join(work, 'out')];
  const random = new Random(11);
  fs.writeFileSync(image, random.bytes(SIZE));
  const args = ['take', image, store, '--dirty', 'reflink', '--trust', '--compression', 'none'];
  t.match(await startNvsnap(args).ended, { status: 0 });
  let killed = 0;
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < 20; i += 1) patch(image, random.bytes(100), random.below(SIZE - 100));
    const { child, ended } = startNvsnap(args);
    while (child.exitCode === null && !hasClone(child.pid as number, folder)) await sleep(1);
    await sleep((round * LONGEST_MS) / rounds);
    const isBetween = hasClone(child.pid as number, folder);
    child.kill('SIGKILL');
    const how = await ended;
    if (how.signal === null) t.match(how, { status: 0 }, 'it was done before');
    killed += how.signal === 'SIGKILL' && isBetween ? 1 : 0;
    // Killed after the new clone got its name, it may not have removed the old one yet.
    if (clonesIn(folder).length > 2) t.fail('clones pile up', { clones: clonesIn(folder) });
    patch(image, random.bytes(100), random.below(SIZE - 100));
    fs.copyFileSync(image, frozen);
    await take({ image, store, tag: `r${round}`, dirty: 'reflink', audit: 0 });
    await restore({ store, snapshot: `r${round}`, output, force: true });
    if (!sameFile(output, frozen)) t.fail(`round ${round} is not what the image was`);
    if (clonesIn(folder).length !== 1) t.fail('not one clone', { clones: clonesIn(folder) });
  }
  t.ok(killed > 0, `${killed} of ${rounds} were killed while the clone had no name`);
};
