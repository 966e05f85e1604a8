// No space is left: the take fails in one sentence, and the store is as it was.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KiB, MiB } from '../../disk/index.js';
import { Fault, restore, take } from '../../snapshot/index.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { Before } from '../tools/kills.js';
import { smallDisk } from '../tools/mount.js';
import { MAIN, nvsnap, start } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

t.setTimeout(120_000);

const SEED = 20261123;
const DISK_BYTES = 40 * MiB;
const IMAGE_BYTES = 12 * MiB;
const NO_IMAGE =
  'no disk can be mounted here; the test with a limit on the file size stands for it';

const sentences = (path: string): string =>
  `nvsnap: No space is left to write ${path}.\n` +
  'Free some space and try again; every snapshot is as it was.\n';

/** Takes up all of a disk but about `free` bytes. */
const fillDisk = (disk: string, free: number): void => {
  const filler = join(disk, 'filler');
  fs.rmSync(filler, { force: true });
  const { bavail, bsize } = fs.statfsSync(disk);
  fs.writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - free), 1));
};

/** Runs a take that may fail for want of space, and for no other reason; true when it did. */
const lacksSpace = async (options: Parameters<typeof take>[0]): Promise<boolean> => {
  try {
    await take(options);
    return false;
  } catch (error) {
    if (error instanceof Fault && error.code === 'disk-full' && error.exitCode === 1) return true;
    throw error;
  }
};

t.test('wherever the space ends, a take changes all or nothing', async (t) => {
  const folder = tempDir(t);
  const disk = smallDisk(t, folder, DISK_BYTES);
  if (disk === undefined) return t.pass(NO_IMAGE);
  const [image, store] = [join(folder, 'image'), join(disk, 'store')];
  const random = new Random(SEED);
  fs.writeFileSync(image, random.bytes(IMAGE_BYTES));
  await take({ image, store, tag: 'one' });
  patch(image, random.bytes(4 * MiB), 2 * MiB);
  const before = new Before(store);
  await take({ image, store, tag: 'two' });
  const needed = fs.statSync(store).size - before.size;
  before.restore(store);
  let failed = 0;
  // From no space at all, in wide steps through the data, in narrow ones through the tables.
  const narrow = Array.from({ length: 15 }, (_, i) => needed - i * 64 * KiB);
  for (const free of [0, MiB, 2 * MiB, 3 * MiB, ...narrow.reverse(), needed + MiB]) {
    fillDisk(disk, free);
    const full = await lacksSpace({ image, store, tag: 'two' });
    fs.rmSync(join(disk, 'filler'));
    t.equal(await before.isPublished(store, ['one'], 'two'), !full, `with ${free} bytes free`);
    if (full) t.equal(fs.statSync(store).size, before.size, 'it is no longer than before');
    failed += full ? 1 : 0;
    before.restore(store);
  }
  t.comment(`${failed} takes failed for want of up to ${needed} bytes`);
  t.ok(failed >= 15);
});

t.test('the command says so, and a smaller change then fits', async (t) => {
  const folder = tempDir(t);
  const disk = smallDisk(t, folder, DISK_BYTES);
  if (disk === undefined) return t.pass(NO_IMAGE);
  const [image, store] = [join(folder, 'image'), join(disk, 'store')];
  const random = new Random(SEED);
  fs.writeFileSync(image, random.bytes(IMAGE_BYTES));
  fillDisk(disk, IMAGE_BYTES / 2);
  const first = await nvsnap(['take', image, store]);
  t.match(first, { status: 1, stdout: '', stderr: sentences(store) });
  t.same(fs.readdirSync(disk), ['filler'], 'a first take leaves nothing');

  fillDisk(disk, IMAGE_BYTES + 2 * MiB);
  t.match(await nvsnap(['take', image, store, '--tag', 'one']), { status: 0, stderr: '' });
  const before = new Before(store);
  const old = fs.readFileSync(image);
  patch(image, random.bytes(6 * MiB), 2 * MiB);
  t.match(await nvsnap(['take', image, store]), { status: 1, stderr: sentences(store) });
  t.notOk(await before.isPublished(store, ['one'], ''));

  fs.writeFileSync(image, old);
  patch(image, random.bytes(300 * KiB), 5 * MiB);
  t.match(await nvsnap(['take', image, store, '--tag', 'two']), { status: 0, stderr: '' });
  checkClean(store);
  const output = join(folder, 'restored');
  await restore({ store, snapshot: 'two', output });
  t.ok(sameFile(output, image));

  const full = join(disk, 'restored');
  const result = await nvsnap(['restore', store, 'one', full]);
  t.match(result, { status: 1, stderr: sentences(full) });
  t.same(fs.readdirSync(disk).sort(), ['filler', 'store'], 'a restore leaves nothing half done');
});

t.test('a limit on the file size is met in the same way', async (t) => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store')];
  const random = new Random(SEED);
  const limited = (...args: string[]) =>
    start('bash', ['-c', 'ulimit -f 8192; exec "$0" "$@"', process.execPath, MAIN, ...args]).ended;
  fs.writeFileSync(image, random.bytes(IMAGE_BYTES));
  const first = await limited('take', image, store);
  t.match(first, { status: 1, signal: null, stdout: '' });
  t.match(first.stderr, /^nvsnap: Could not write .*store: file too large\.\n[^\n]+\.\n$/);
  t.same(fs.readdirSync(folder), ['image']);

  fs.writeFileSync(image, random.bytes(6 * MiB));
  t.match(await limited('take', image, store, '--tag', 'one'), { status: 0 });
  const before = new Before(store);
  fs.writeFileSync(image, random.bytes(6 * MiB));
  t.match(await limited('take', image, store, '--other-image'), { status: 1, signal: null });
  t.notOk(await before.isPublished(store, ['one'], ''));
  t.equal(fs.statSync(store).size, before.size);
});
