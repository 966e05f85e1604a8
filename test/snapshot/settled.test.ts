// What a restore or an export says is there has reached the disk, and what the disk did not take is told.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MiB } from '../../disk/index.js';
import { exportSnapshot, restore, take } from '../../snapshot/index.js';
import { contentOf, loopDevice } from '../tools/device.js';
import { copyState, diskDir, patch, Random, tempDir } from '../tools/files.js';
import { smallDisk } from '../tools/mount.js';
import { nvsnap } from '../tools/nvsnap.js';
import { stranger } from '../tools/stranger.js';

t.setTimeout(120_000);

const SIZE = 24 * MiB;
/** So much of a device that claims to have all of it can be kept. */
const ROOM = 8 * MiB;

const makeStore = async (folder: string) => {
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const content = new Random(40).bytes(SIZE);
  fs.writeFileSync(image, content);
  await take({ image, store, tag: 'a' });
  return { image, store, content };
};

/** Runs `work`, and returns which of these calls it made, in order. */
const callsDuring = async (work: () => Promise<unknown>): Promise<string[]> => {
  const calls: string[] = [];
  const names = ['fdatasync', 'fsyncSync', 'linkSync', 'renameSync'] as const;
  const before = names.map((name) => fs[name]);
  for (const name of names) {
    const real = fs[name] as (...args: unknown[]) => unknown;
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        calls.push(name);
        return real(...args);
      },
    });
  }
  try {
    await work();
  } finally {
    names.forEach((name, i) => {
      Object.assign(fs, { [name]: before[i] });
    });
  }
  return calls;
};

/** A device that takes all that is written to it, and finds out afterwards that it has no place for it. */
const thinDevice = (t: Test): string | undefined => {
  const disk = smallDisk(t, tempDir(t), ROOM);
  return disk === undefined ? undefined : loopDevice(t, disk, Buffer.alloc(0), SIZE + MiB);
};

t.test('a device that loses what it took is no restored image', async (t) => {
  const { store, content } = await makeStore(diskDir(t));
  const device = thinDevice(t);
  if (!device) {
    t.comment('not done: this process may not have a loop device');
    return;
  }
  for (const how of ['--force', '--in-place']) {
    const { status, stdout, stderr } = await nvsnap(['restore', store, 'a', device, how]);
    t.match({ status, stdout }, { status: 1, stdout: '' }, how);
    t.match(stderr, new RegExp(`^nvsnap: Could not sync ${device}: i/o error\\.\n.*\n$`));
  }
  t.notOk(contentOf(device, SIZE).equals(content), 'it has not got it');
  for (const args of [
    ['restore', store, 'a', '-'],
    ['export', store, 'a'],
  ]) {
    const fd = fs.openSync(device, 'r+');
    const { status, stderr } = await nvsnap(args, { stdio: ['ignore', fd, 'pipe'] });
    fs.closeSync(fd);
    t.equal(status, 1, String(args[0]));
    t.match(stderr, /^nvsnap: Could not sync .*: i\/o error\.\n/);
  }
});

t.test('a file gets its name when it is on the disk, and the name gets there too', async (t) => {
  const folder = diskDir(t);
  const { image, store, content } = await makeStore(folder);
  const output = join(folder, 'output');
  const into = (options: object) => () => restore({ store, snapshot: 'a', output, ...options });
  t.same(await callsDuring(into({})), ['fdatasync', 'linkSync', 'fsyncSync'], 'new');
  t.same(
    await callsDuring(into({ force: true })),
    ['fdatasync', 'renameSync', 'fsyncSync'],
    'over',
  );
  patch(output, Buffer.from('changed'), 5 * MiB);
  t.same(await callsDuring(into({ inPlace: true })), ['fdatasync'], 'in place');
  t.ok(fs.readFileSync(output).equals(content));
  copyState(image, output);
  t.same(await callsDuring(into({ inPlace: true, dryRun: true })), [], 'a dry run writes nothing');
});

t.test('an export to a file is on the disk, one to a pipe has none', async (t) => {
  const folder = diskDir(t);
  const { store } = await makeStore(folder);
  const fd = fs.openSync(join(folder, 'stream'), 'w');
  const calls = await callsDuring(() => exportSnapshot({ store, snapshot: 'a', fd }));
  fs.closeSync(fd);
  t.same(calls, ['fdatasync']);
  t.match(await nvsnap(['export', store, 'a', '--quiet']), { status: 0, stderr: '' });
});

t.test('who may not read a folder may yet restore into it', async (t) => {
  const as = await stranger();
  if (as === undefined) {
    return t.pass('root cannot run this checkout as another user: run this test as one');
  }
  const folder = diskDir(t);
  const { store, content } = await makeStore(folder);
  const closed = join(folder, 'closed');
  fs.mkdirSync(closed, { mode: 0o300 });
  if (as.uid !== undefined) fs.chownSync(closed, as.uid, as.uid);
  fs.chmodSync(folder, 0o755);
  fs.chmodSync(store, 0o644);
  const output = join(closed, 'output');
  t.match(await nvsnap(['restore', store, 'a', output], as), { status: 0, stderr: '' });
  fs.chmodSync(closed, 0o700);
  t.ok(fs.readFileSync(output).equals(content));
});
