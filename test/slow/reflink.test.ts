// The examiner, kills and many rounds of takes with reflink, on all disks that clone. In a round the image is written in every
// way that a file system has, in another order.

import t from 'tap';
import { examineReflink } from '../dirty/reflink-examined.js';
import { CLONE_DISKS, withCloneDisk } from '../tools/clone-disk.js';
import { killClones } from '../tools/clone-kills.js';
import { takeAfterEdits } from '../tools/clone-rounds.js';

t.setTimeout(0);

const FULL = process.env.NVSNAP_SLOW === 'full';
const ROUNDS = FULL ? 25 : 1;

// The slice leaves out what the quick test does.
for (const kind of FULL ? CLONE_DISKS : CLONE_DISKS.slice(1, 3)) {
  t.test(`${kind.name} under the examiner`, (t) => examineReflink(t, kind));
}

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

for (const kind of CLONE_DISKS) {
  t.test(`${kind.name}: takes that are killed`, (t) =>
    withCloneDisk(t, kind, ({ folder }) => killClones(t, folder, FULL ? 144 : 4)),
  );
}
