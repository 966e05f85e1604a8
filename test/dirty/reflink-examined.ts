// reflink on a real disk, under the examiner.

import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { openSource } from '../../dirty/index.js';
import { examineSource } from '../../examine/index.js';
import { type DiskKind, withCloneDisk } from '../tools/clone-disk.js';
import { patch } from '../tools/files.js';

const PAGE = 4096;

/** Examines reflink on a disk of this kind. */
export const examineReflink = (t: Test, kind: DiskKind): Promise<void> =>
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
  });
