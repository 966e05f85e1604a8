// reflink with all that a file system can do to a file between two takes. NVSNAP_SEED repeats a failure.

import t from 'tap';
import { CLONE_DISKS, withCloneDisk } from '../tools/clone-disk.js';
import { takeAfterEdits } from '../tools/clone-rounds.js';

t.setTimeout(240_000);

for (const kind of CLONE_DISKS) {
  t.test(`${kind.name}: whatever happens to a file between two takes`, (t) =>
    withCloneDisk(t, kind, async ({ folder }) => {
      const seed = Number(process.env.NVSNAP_SEED ?? Math.floor(Math.random() * 2 ** 31));
      await takeAfterEdits(t, folder, kind, seed);
      t.pass(`every snapshot is what the image was (seed ${seed})`);
    }),
  );
}
