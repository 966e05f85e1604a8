// reflink on real disks, under the examiner: on one whose files tell by their places what has changed, and on one where
// they do not. The slow test of the same name has the others.

import t from 'tap';
import { CLONE_DISKS } from '../tools/clone-disk.js';
import { examineReflink } from './reflink-examined.js';

t.setTimeout(240_000);

for (const kind of [CLONE_DISKS[0], CLONE_DISKS[3]]) {
  t.test(`${kind.name} under the examiner`, (t) => examineReflink(t, kind));
}
