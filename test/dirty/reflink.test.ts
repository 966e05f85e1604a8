// reflink on real disks, under the examiner.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openSource } from '../../dirty/index.js';
import { examineSource } from '../../examine/index.js';
import { CLONE_DISKS, withCloneDisk } from '../tools/clone-disk.js';
import { patch } from '../tools/files.js';

t.setTimeout(240_000);

const PAGE = 4096;

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
