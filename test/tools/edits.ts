// Ways in which a copy of an image may come to differ from it.

import fs from 'node:fs';
import { punchHole } from '../../disk/index.js';
import { patch, type Random } from './files.js';

const CLUSTER = 4096;

/** Changes to a copy of an image of 3000 clusters, or a few more bytes. */
export const EDITS: ReadonlyArray<readonly [string, (path: string, random: Random) => void]> = [
  ['nothing', () => {}],
  [
    'single bytes',
    (path, random) => {
      for (const cluster of random.pick(40, 2999)) {
        patch(path, random.bytes(1), cluster * CLUSTER + random.below(CLUSTER));
      }
    },
  ],
  [
    'data where there were zeros',
    (path, random) => patch(path, random.bytes(5 * CLUSTER), 300 * CLUSTER + 11),
  ],
  [
    'zeros where there were data',
    (path) => patch(path, Buffer.alloc(20 * CLUSTER), 2000 * CLUSTER),
  ],
  [
    'a hole',
    (path) => {
      const fd = fs.openSync(path, 'r+');
      punchHole(fd, { start: 650 * CLUSTER, end: 1600 * CLUSTER });
      fs.closeSync(fd);
    },
  ],
  [
    'only holes',
    (path) => {
      const { size } = fs.statSync(path);
      fs.truncateSync(path, 0);
      fs.truncateSync(path, size);
    },
  ],
  ['a longer image', (path, random) => fs.appendFileSync(path, random.bytes(100 * CLUSTER))],
  ['a shorter image', (path) => fs.truncateSync(path, 2100 * CLUSTER)],
  ['an empty image', (path) => fs.truncateSync(path, 0)],
];
