// reflink while the image goes on being written, and while takes are killed.

import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { restore, take } from '../../snapshot/index.js';
import { CLONE_DISKS, clonesIn, withCloneDisk } from '../tools/clone-disk.js';
import { killClones } from '../tools/clone-kills.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { start } from '../tools/nvsnap.js';

t.setTimeout(240_000);

const MiB = 2 ** 20;
const PAGE = 4096;
const SIZE = 8 * MiB;
const PAGES = SIZE / PAGE;

/** A byte in each page that tells which round of the writer has written it. */
const roundsIn = (content: Buffer): number[] =>
  Array.from({ length: PAGES }, (_, page) => content[page * PAGE] as number);

/**
 * A process that writes one byte to each page in turn, round after round, through a shared mapping and by pwrite by
 * turns, until it is stopped. A round's byte is its number; from 250 it goes back to 1.
 */
const startWriter = (t: Test, image: string) => {
  const { child, ended } = start('xfs_io', [image], { stdio: ['pipe', 'ignore', 'inherit'] });
  const input = child.stdin as NodeJS.WritableStream;
  let running = true;
  const feed = async (): Promise<void> => {
    input.write(`mmap -rw 0 ${SIZE}\n`);
    for (let round = 1; running; round = (round % 250) + 1) {
      for (let first = 0; first < PAGES && running; first += 64) {
        const commands = Array.from({ length: 64 }, (_, i) =>
          i % 2 === 0
            ? `mwrite -S ${round} ${(first + i) * PAGE} 1\n`
            : `pwrite -q -S ${round} ${(first + i) * PAGE} 1\n`,
        );
        if (!input.write(commands.join(''))) await once(input, 'drain');
      }
    }
    input.end();
  };
  const feeding = feed();
  const stop = async (): Promise<void> => {
    running = false;
    await feeding;
    await ended;
  };
  t.teardown(stop);
  return stop;
};

/** Pages at which the round goes on to another one than the page before; a moment in time has at most one. */
const seams = (rounds: readonly number[]): number =>
  rounds.filter((round, page) => page > 0 && round !== rounds[page - 1]).length;

for (const kind of CLONE_DISKS) {
  t.test(`${kind.name}: a snapshot is one moment of an image that is being written`, (t) =>
    withCloneDisk(t, kind, async ({ folder }) => {
      const [image, work] = [join(folder, 'image'), tempDir(t)];
      const [store, output] = [join(work, 'store'), join(work, 'out')];
      const random = new Random(5);
      fs.writeFileSync(image, '');
      fs.truncateSync(image, SIZE);
      for (let page = 0; page < PAGES; page += 2)
        patch(image, random.bytes(PAGE / 2), page * PAGE + 9);
      const stop = startWriter(t, image);
      const moments = new Set<number>();
      for (let round = 0; round < 4; round += 1) {
        await sleep(random.below(300));
        const { dirty } = await take({
          image,
          store,
          tag: `t${round}`,
          dirty: 'reflink',
          audit: 100,
        });
        const [clone = ''] = clonesIn(folder);
        await restore({ store, snapshot: `t${round}`, output, force: true });
        t.ok(sameFile(output, join(folder, clone)), 'the snapshot is what the clone holds');
        t.equal(dirty.audit?.missed ?? 0, 0, 'and everything that changed was named');
        t.equal(dirty.fallback, null);
        const rounds = roundsIn(fs.readFileSync(output));
        t.ok(seams(rounds) <= 1, 'no page is of another time than those before it');
        moments.add(rounds[0] as number);
      }
      await stop();
      t.ok(moments.size > 1, 'the image was written meanwhile');
    }),
  );
}

for (const kind of CLONE_DISKS.slice(0, 2)) {
  t.test(`${kind.name}: a take that is killed leaves no clone, and the next one is right`, (t) =>
    withCloneDisk(t, kind, ({ folder }) => killClones(t, folder, 6)),
  );
}
