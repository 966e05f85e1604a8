// Many rounds of takes with reflink, on all disks that clone: in each the image is written in every way that a file
// system has, in another order.

import t from 'tap';
import { CLONE_DISKS, withCloneDisk } from '../tools/clone-disk.js';
import { takeAfterEdits } from '../tools/clone-rounds.js';

t.setTimeout(0);

const ROUNDS = process.env.NVSNAP_SLOW === 'full' ? 25 : 1;

for (const kind of CLONE_DISKS) {
  t.test(`${kind.name}: ${ROUNDS} rounds`, async (t) => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const seed = Math.floor(Math.random() * 2 ** 31);
      await t.test(`seed ${seed}`, (t) =>
        withCloneDisk(t, kind, async ({ folder }) => {
          await takeAfterEdits(t, folder, kind, seed);
        }),
      );
    }
  });
}
