// Which clone belongs to which snapshot: from one take to the next, with several stores and parents, and with clones
// that are gone, changed or not the ones they seem. Each take is judged by what it restores to.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openSource } from '../../dirty/index.js';
import { fileIdentity } from '../../disk/index.js';
import { list, remove, restore, type TakeOptions, take } from '../../snapshot/index.js';
import { CLONE_DISKS, cloneDisk, clonesIn, type Disk, withCloneDisk } from '../tools/clone-disk.js';
import { loopDevice } from '../tools/device.js';
import { patch, Random, sameFile, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';

t.setTimeout(240_000);

const MiB = 2 ** 20;
const SIZE = 4 * MiB;

/** An image on a disk, and takes of it that are looked at. */
class Chain {
  readonly disk: Disk;
  readonly image: string;
  readonly work: string;
  readonly #t: Test;
  readonly #random = new Random(3);
  #takes = 0;

  constructor(t: Test, disk: Disk) {
    this.#t = t;
    this.disk = disk;
    this.work = tempDir(t);
    this.image = join(disk.folder, 'image');
    fs.writeFileSync(this.image, this.#random.bytes(SIZE));
  }

  /** Changes a little, takes, and says why everything was read; null when it was not. */
  async take(
    options: Partial<Pick<TakeOptions, 'store' | 'dirty' | 'parent' | 'signal'>> = {},
  ): Promise<string | null> {
    patch(this.image, this.#random.bytes(9), this.#random.below(SIZE - 9));
    const [store, output] = [join(this.work, 'store'), join(this.work, 'out')];
    this.#takes += 1;
    const tag = `t${this.#takes}`;
    const all = { image: this.image, store, tag, audit: 0, dirty: 'reflink', ...options };
    const { dirty } = await take(all);
    await restore({ store: all.store, snapshot: tag, output, force: true });
    this.#t.ok(sameFile(output, this.image), `${tag} is what the image is`);
    return dirty.fallback;
  }

  clones(): string[] {
    return clonesIn(this.disk.folder);
  }
}

const onBoth = (name: string, body: (t: Test, chain: Chain) => Promise<void>): void => {
  for (const kind of CLONE_DISKS.slice(0, 2)) {
    t.test(`${kind.name}: ${name}`, (t) =>
      withCloneDisk(t, kind, (disk) => body(t, new Chain(t, disk))),
    );
  }
};

onBoth('a clone outlives the machine, but not its successor', async (t, chain) => {
  t.equal(await chain.take(), null);
  for (let round = 0; round < 3; round += 1) {
    const [before = ''] = chain.clones();
    chain.disk.remount();
    t.equal(await chain.take(), null, 'it is found again');
    t.equal(chain.clones().length, 1);
    t.not(chain.clones()[0], before);
    const { mode } = fs.statSync(join(chain.disk.folder, chain.clones()[0] as string));
    t.equal(mode & 0o777, 0o400, 'nobody writes to it, and only its owner reads it');
  }
});

onBoth('two stores of one image have a clone each', async (t, chain) => {
  const other = { store: join(chain.work, 'other') };
  for (const options of [{}, other, {}, {}, other, other, {}]) {
    t.equal(await chain.take(options), null);
  }
  t.equal(chain.clones().length, 2);
});

onBoth('of an older parent there is no clone any more', async (t, chain) => {
  await chain.take();
  await chain.take();
  t.match(await chain.take({ parent: 't1' }), /holds no clone of the parent any more/);
  t.equal(chain.clones().length, 1, 'the one that nobody would have used is gone');
  t.equal(await chain.take(), null);
  await remove({ store: join(chain.work, 'store'), snapshots: ['t4'] });
  t.match(await chain.take(), /holds no clone of the parent any more/);
  t.equal(chain.clones().length, 1);
});

onBoth('a take with another source, or without a parent, breaks the chain', async (t, chain) => {
  await chain.take();
  await chain.take({ dirty: 'scan' });
  t.match(await chain.take(), /the parent was not taken with it/);
  t.equal(chain.clones().length, 1);
  t.equal(await chain.take({ parent: 'none' }), null);
  t.equal(chain.clones().length, 1);
  t.equal(await chain.take(), null);
});

onBoth('a clone that is not what it was is not believed', async (t, chain) => {
  const clone = (): string => join(chain.disk.folder, chain.clones()[0] as string);
  const spoil: ReadonlyArray<(path: string) => void> = [
    (path) => {
      fs.chmodSync(path, 0o600);
      patch(path, Buffer.from('changed'), 7);
    },
    (path) => {
      fs.copyFileSync(path, `${path}.new`, fs.constants.COPYFILE_FICLONE_FORCE);
      fs.renameSync(`${path}.new`, path);
    },
    (path) => fs.truncateSync(path, 5),
    (path) => {
      fs.rmSync(path);
      fs.symlinkSync(chain.image, path);
    },
    (path) => {
      fs.rmSync(path);
      fs.mkdirSync(path);
    },
    (path) => {
      fs.rmSync(path);
      spawnSync('mkfifo', [path]);
    },
  ];
  await chain.take();
  for (const [number, how] of spoil.entries()) {
    how(clone());
    t.match(
      await chain.take(),
      /no longer the clone|cannot be compared/,
      `spoilt in way ${number}`,
    );
    t.ok(chain.clones().length <= 2);
    for (const name of chain.clones()) {
      if (!fs.lstatSync(join(chain.disk.folder, name)).isFile()) {
        fs.rmSync(join(chain.disk.folder, name), { recursive: true });
      }
    }
  }
  fs.rmSync(clone());
  t.match(await chain.take(), /holds no clone/);
  t.equal(await chain.take(), null);
});

onBoth('another file in the place of the image is read whole', async (t, chain) => {
  await chain.take();
  fs.copyFileSync(chain.image, `${chain.image}.new`);
  fs.renameSync(`${chain.image}.new`, chain.image);
  t.match(await chain.take(), /another image file/);
  t.equal(await chain.take(), null);
});

onBoth('the clone may be elsewhere on the same disk', async (t, chain) => {
  const folder = join(chain.disk.folder, 'clones');
  const dirty = `reflink:${folder}`;
  t.match(await nvsnap(['take', chain.image, join(chain.work, 'store'), '--dirty', dirty]), {
    status: 1,
    stderr: /dirty source reflink cannot be used: .*clones: no such file/,
  });
  fs.mkdirSync(folder);
  t.equal(await chain.take({ dirty }), null);
  t.equal(await chain.take({ dirty }), null);
  t.equal(clonesIn(folder).length, 1);
  t.equal(chain.clones().length, 0);
});

onBoth('a take that fails keeps the clone of the parent', async (t, chain) => {
  await chain.take();
  const before = chain.clones();
  const signal = AbortSignal.abort();
  await t.rejects(chain.take({ signal }), { code: 'cancelled' });
  t.same(chain.clones(), before);
  t.equal(await chain.take(), null);
});

onBoth('an image may be empty, or have holes only', async (t, chain) => {
  const image = join(chain.disk.folder, 'empty');
  const store = join(chain.work, 'empty.qcow2');
  fs.writeFileSync(image, '');
  for (const [tag, size] of [
    ['a', 0],
    ['b', 9 * MiB],
    ['c', 9 * MiB],
    ['d', 0],
  ] as const) {
    fs.truncateSync(image, size);
    const { dirty } = await take({ image, store, tag, dirty: 'reflink' });
    t.equal(dirty.fallback, null);
    await restore({ store, snapshot: tag, output: join(chain.work, 'out'), force: true });
    t.ok(sameFile(join(chain.work, 'out'), image));
  }
});

/** Refused with these words, and nothing is left of it. */
const refuses = async (t: Test, image: string, dirty: string, words: RegExp): Promise<void> => {
  const store = join(tempDir(t), 'store');
  const { status, stderr } = await nvsnap(['take', image, store, '--dirty', dirty]);
  t.equal(status, 1);
  t.match(stderr, words);
  t.match(stderr, /leave out --dirty/);
  t.notOk(fs.existsSync(store));
};

t.test('what cannot be cloned is refused', async (t) => {
  await withCloneDisk(t, { name: 'ext4', type: 'ext4' }, async ({ folder }) => {
    const image = join(folder, 'image');
    fs.writeFileSync(image, Buffer.alloc(SIZE, 1));
    await refuses(t, image, 'reflink', /the file system of .* makes no clones/);
    await withCloneDisk(t, { name: 'XFS', type: 'xfs' }, (xfs) =>
      refuses(t, image, `reflink:${xfs.folder}`, /is on another file system than/),
    );
  });
  const device = loopDevice(t, tempDir(t), Buffer.alloc(SIZE, 1));
  if (device) await refuses(t, device, 'reflink', /is not a regular file/);
  else t.comment('not done: this process may not have a loop device');
});

t.test('standard input cannot be cloned, not even when it is a file', async (t) => {
  const folder = tempDir(t);
  const file = join(folder, 'file');
  fs.writeFileSync(file, Buffer.alloc(SIZE, 1));
  const fd = fs.openSync(file, 'r');
  const args = ['take', '-', join(folder, 'store'), '--size', '4M', '--dirty', 'reflink'];
  const { status, stderr } = await nvsnap(args, { stdio: [fd, 'pipe', 'pipe'] });
  fs.closeSync(fd);
  t.equal(status, 1);
  t.match(stderr, /the image is standard input/);
});

t.test('an image that changes its length as the take begins is not taken', (t) =>
  withCloneDisk(t, { name: 'XFS', type: 'xfs' }, async ({ folder }) => {
    const path = join(folder, 'image');
    fs.writeFileSync(path, Buffer.alloc(SIZE));
    const fd = fs.openSync(path, 'r');
    const image = { path, realPath: path, fd, size: SIZE - 1, identity: fileIdentity(fd) };
    await t.rejects(openSource('reflink').begin(image, undefined), { code: 'image-resized' });
    fs.closeSync(fd);
    t.same(clonesIn(folder), []);
  }),
);

t.test('a disk that is full ends a take with one sentence', async (t) => {
  const disk = cloneDisk(t, { name: 'XFS', type: 'xfs' }, 320 * MiB);
  if (!disk) return t.pass('not done: nothing may be mounted here');
  const chain = new Chain(t, disk);
  await chain.take();
  const before = chain.clones();
  const filler = join(disk.folder, 'filler');
  fs.writeFileSync(filler, '');
  for (const piece of [4 * MiB, 64 * 1024, 4096]) {
    try {
      for (;;) fs.appendFileSync(filler, Buffer.alloc(piece, 1), { flush: true });
    } catch {
      // Full for pieces of this size.
    }
  }
  const store = join(chain.work, 'store');
  const { status, stderr } = await nvsnap(['take', chain.image, store, '--dirty', 'reflink']);
  t.equal(status, 1);
  t.match(stderr, /^nvsnap: No space is left to write .*mounted\.\n/);
  t.same(chain.clones(), before);
  fs.rmSync(filler);
  t.equal((await list({ store })).length, 1);
  t.equal(await chain.take(), null);
});
