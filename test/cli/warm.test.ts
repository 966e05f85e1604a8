// For which commands threads are started before it is known what there is to do.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { warmPools } from '../../cli/warm.js';
import { MiB } from '../../disk/index.js';
import { tempDir } from '../tools/files.js';

const LARGE = 33 * MiB;

t.test('threads start early for much data of one image', async (t) => {
  const folder = tempDir(t);
  /** A file with so much data; with `disk`, one that says it is a qcow2 file with such a disk. */
  const file = (name: string, bytes: number, disk?: number): string => {
    const content = Buffer.alloc(bytes, 1);
    if (disk !== undefined) {
      content.write('QFI\xfb', 0, 'latin1');
      content.writeBigUInt64BE(BigInt(disk), 24);
    }
    const path = join(folder, name);
    fs.writeFileSync(path, content);
    return path;
  };
  const image = file('image', LARGE);
  const small = file('small', MiB);
  const store = file('store', LARGE, 64 * MiB);
  const history = file('history', LARGE, 4 * MiB);
  const early = async (...words: string[]): Promise<boolean> => {
    const pools = warmPools(words);
    await pools?.close();
    return pools !== undefined;
  };
  t.ok(await early('take', image, 'new.qcow2'));
  t.ok(await early('take', '--tag', 'a', image, history), 'one large image suffices');
  t.ok(await early('restore', store, 'latest', 'copy.img'));
  t.ok(await early('verify', history), 'which reads all of its snapshots');
  t.notOk(await early('take', small, 'new.qcow2'));
  t.notOk(await early('take', small, history), 'many snapshots of a small image');
  t.notOk(await early('restore', history, 'latest', 'copy.img'));
  t.notOk(await early('take', image, 'new.qcow2', '--dirty=holes'));
  t.notOk(await early('list', store));
  t.notOk(await early('restore', join(folder, 'missing'), 'latest', 'copy.img'));
});
