// What cannot be done is refused in one sentence of what and one of advice, with the right exit code,
// and nothing is changed by it.

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { MiB } from '../../disk/index.js';
import { createEmitter, take } from '../../snapshot/index.js';
import { patch, Random, tempDir } from '../tools/files.js';
import { Before } from '../tools/kills.js';
import { nvsnap, startNvsnap } from '../tools/nvsnap.js';
import { qemuImg } from '../tools/qemu.js';
import {
  judgeAll,
  makeTemplate,
  type Place,
  type Refusal,
  type Situation,
  takes,
} from '../tools/refusals.js';
import { stranger } from '../tools/stranger.js';

t.setTimeout(180_000);

const INCOMPATIBLE_AT = 72;

const mustRun = (program: string, args: readonly string[]): void => {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
};

const IMAGES: readonly Refusal[] = [
  takes([], {
    name: 'the image does not exist',
    code: 'image-missing',
    status: 1,
    says: /image/,
    arrange: ({ image }) => fs.rmSync(image),
  }),
  {
    name: 'the image is below a file',
    args: ({ image, store }) => ['take', `${image}/x`, store],
    code: 'image-missing',
    status: 1,
  },
  {
    name: 'the image is a directory',
    args: ({ folder, store }) => ['take', folder, store],
    code: 'image-unsuitable',
    status: 1,
    says: /a directory/,
  },
  takes([], {
    name: 'the image is a pipe',
    code: 'image-unsuitable',
    status: 1,
    says: /a pipe/,
    arrange: ({ image }) => {
      fs.rmSync(image);
      mustRun('mkfifo', [image]);
    },
  }),
  {
    name: 'the image is a character device',
    args: ({ store }) => ['take', '/dev/null', store],
    code: 'image-unsuitable',
    status: 1,
  },
  {
    name: 'the image is the store',
    args: ({ store }) => ['take', store, store],
    code: 'image-is-store',
    status: 1,
  },
  {
    name: 'the image is the store by another name',
    args: ({ folder, store }) => ['take', join(folder, 'link'), store],
    code: 'image-is-store',
    status: 1,
    arrange: ({ folder, store }) => fs.symlinkSync(store, join(folder, 'link')),
  },
  {
    name: 'the image is another one',
    args: ({ folder, store }) => ['take', join(folder, 'other'), store],
    code: 'image-other',
    status: 1,
    arrange: ({ folder }) => fs.writeFileSync(join(folder, 'other'), new Random(2).bytes(300_000)),
  },
  {
    name: 'standard input without a size',
    args: ({ store }) => ['take', '-', store],
    code: 'usage',
    status: 2,
    says: /size/,
    input: Buffer.alloc(10),
  },
  {
    name: 'standard input shorter than its size',
    args: ({ store }) => ['take', '-', store, '--size', '64K'],
    code: 'input-short',
    status: 1,
    says: /60000 of the 65536 bytes/,
    input: Buffer.alloc(60000, 1),
  },
  {
    name: 'standard input longer than its size, into a new store',
    args: ({ folder }) => ['take', '-', join(folder, 'new'), '--size', '64K'],
    code: 'input-long',
    status: 1,
    input: Buffer.alloc(65537, 1),
  },
];

/** A call that only names the store, for what every command must refuse. */
const readers = (rest: Situation): Refusal[] => [
  takes([], rest),
  {
    ...rest,
    name: `${rest.name} (restore)`,
    args: ({ store }) => ['restore', store, 'one', 'out'],
  },
  { ...rest, name: `${rest.name} (list)`, args: ({ store }) => ['list', store] },
];

const setIncompatible =
  (bit: number) =>
  ({ store }: Place): void => {
    const word = fs.readFileSync(store).readBigUInt64BE(INCOMPATIBLE_AT) | (1n << BigInt(bit));
    const raw = Buffer.alloc(8);
    raw.writeBigUInt64BE(word);
    patch(store, raw, INCOMPATIBLE_AT);
  };

const replaceStore =
  (...args: readonly string[]) =>
  ({ store, image }: Place): void => {
    fs.rmSync(store);
    const { status, stderr } = qemuImg(
      args.map((arg) => ({ STORE: store, IMAGE: image })[arg] ?? arg),
    );
    if (status !== 0) throw new Error(stderr);
  };

const STORES: readonly Refusal[] = [
  ...readers({
    name: 'the store is a pipe',
    code: 'store-unusable',
    status: 1,
    says: /not a (regular )?file/,
    arrange: ({ store }) => {
      fs.rmSync(store);
      mustRun('mkfifo', [store]);
    },
  }),
  ...['nowhere', 'store'].map((to) =>
    takes([], {
      name: `the store is a link to ${to}, which is no file`,
      code: 'store-unusable',
      status: 1,
      says: new RegExp(`a symbolic link to ${to}, where no file can be found`),
      arrange: ({ store }) => {
        fs.rmSync(store);
        fs.symlinkSync(to, store);
      },
    }),
  ),
  ...readers({
    name: 'the store is not qcow2',
    code: 'store-not-qcow2',
    status: 1,
    arrange: ({ store }) => fs.writeFileSync(store, 'something else'.repeat(1000)),
  }),
  takes([], {
    name: 'the store is an empty file',
    code: 'store-not-qcow2',
    status: 1,
    arrange: ({ store }) => fs.truncateSync(store, 0),
  }),
  ...readers({
    name: 'the store has a backing file',
    code: 'store-unsupported',
    status: 1,
    says: /a backing file/,
    arrange: replaceStore('create', '-q', '-f', 'qcow2', '-b', 'IMAGE', '-F', 'raw', 'STORE'),
  }),
  ...readers({
    name: 'the store has an unknown feature',
    code: 'store-unsupported',
    status: 1,
    says: /bit 40/,
    arrange: setIncompatible(40),
  }),
  takes([], {
    name: 'the store is marked corrupt',
    code: 'store-corrupt-flag',
    status: 1,
    arrange: setIncompatible(1),
  }),
  takes([], {
    name: 'the store was not closed',
    code: 'store-dirty-flag',
    status: 1,
    arrange: setIncompatible(0),
  }),
  takes([], {
    name: 'the store is of another program',
    code: 'store-unadoptable',
    status: 1,
    arrange: replaceStore('create', '-q', '-f', 'qcow2', 'STORE', '1M'),
  }),
  takes([], {
    name: 'the store is a directory',
    code: 'store-unusable',
    status: 1,
    says: /regular file/,
    arrange: ({ store }) => {
      fs.rmSync(store);
      fs.mkdirSync(store);
    },
  }),
  {
    name: 'the store is to be made in a folder that does not exist',
    args: ({ folder, image }) => ['take', image, join(folder, 'no', 'store')],
    code: 'store-unusable',
    status: 1,
  },
  {
    name: 'there is no store to list',
    args: ({ folder }) => ['list', join(folder, 'none')],
    code: 'store-missing',
    status: 1,
  },
  {
    name: 'there is no store to restore from',
    args: ({ folder }) => ['restore', join(folder, 'none'), 'one', 'out'],
    code: 'store-missing',
    status: 1,
  },
  takes(['--cluster-size', '4K'], {
    name: 'the store has another cluster size',
    code: 'store-settings',
    status: 1,
    says: /64.0 KiB/,
  }),
  takes(['--compression', 'none'], {
    name: 'the store has another compression',
    code: 'store-settings',
    status: 1,
  }),
  takes(['--digest', 'blake3'], {
    name: 'the store has another digest',
    code: 'store-settings',
    status: 1,
  }),
];

const DAMAGE: readonly Refusal[] = [
  {
    name: 'a damaged cluster',
    args: ({ store }) => ['restore', store, 'one', 'out'],
    code: 'digest-mismatch',
    status: 3,
    arrange: ({ store }) => patch(store, Buffer.from([0x55, 0xaa]), 4 * 65536 + 5000),
  },
  {
    name: 'a store cut in half',
    args: ({ store }) => ['restore', store, 'one', 'out'],
    code: 'store-damaged',
    status: 3,
    arrange: ({ store }) => fs.truncateSync(store, 200_000),
  },
  takes([], {
    name: 'a store cut inside its header',
    code: 'store-damaged',
    status: 3,
    arrange: ({ store }) => fs.truncateSync(store, 90),
  }),
];

for (const [what, table] of [
  ['images', IMAGES],
  ['stores', STORES],
  ['damage', DAMAGE],
] as const) {
  t.test(`refused: ${what}`, async (t) => {
    const folder = tempDir(t);
    await judgeAll(t, folder, await makeTemplate(folder), table);
  });
}

t.test('refused: what may not be read or written', async (t) => {
  const as = await stranger();
  if (as === undefined) {
    return t.pass('root cannot run this checkout as another user: run this test as one');
  }
  const folder = tempDir(t);
  fs.chmodSync(folder, 0o755);
  const template = await makeTemplate(folder);
  const denied = /permission denied/i;
  await judgeAll(t, folder, template, [
    takes([], {
      name: 'an image that may not be read',
      code: 'image-unreadable',
      status: 1,
      says: denied,
      arrange: ({ image }) => fs.chmodSync(image, 0),
      ...as,
    }),
    takes([], {
      name: 'a store that may not be written',
      code: 'store-unusable',
      status: 1,
      says: denied,
      arrange: ({ store }) => fs.chmodSync(store, 0o444),
      ...as,
    }),
    {
      name: 'a folder that a store may not be made in',
      args: ({ image, folder: place }) => ['take', image, join(place, 'new')],
      code: 'store-unusable',
      status: 1,
      says: denied,
      arrange: ({ folder: place }) => {
        fs.chmodSync(place, 0o555);
        return () => fs.chmodSync(place, 0o755);
      },
      ...as,
    },
  ]);
});

t.test('refused: a store that another process is writing, by name', async (t) => {
  const folder = tempDir(t);
  const template = await makeTemplate(folder);
  const holder = startNvsnap(['take', '-', template.store, '--size', '64M', '--other-image'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  t.teardown(() => holder.child.kill('SIGKILL'));
  holder.child.stdin?.on('error', () => {});
  const { size } = fs.statSync(template.store);
  // Two of its batches: when the first is in the store, it holds the lock and waits for more.
  holder.child.stdin?.write(new Random(3).bytes(12 * MiB));
  while (fs.statSync(template.store).size === size)
    await new Promise((next) => setTimeout(next, 5));
  const second = await nvsnap(['take', template.image, template.store]);
  t.equal(second.status, 1);
  t.match(second.stderr, `is being written by process ${holder.child.pid} (node).\n`);
  t.match(second.stderr, /^nvsnap: [^\n]*\.\n[^\n]*\.\n$/);
  const listed = await nvsnap(['list', template.store]);
  t.match(listed, { status: 0, stdout: /one/ }, 'readers are not kept out');
  holder.child.kill('SIGTERM');
  await once(holder.child, 'close');
  t.match(await nvsnap(['take', template.image, template.store]), { status: 0 });
});

t.test('refused: an image that becomes shorter while it is read', async (t) => {
  const folder = tempDir(t);
  const { image, store } = await makeTemplate(folder);
  const size = 48 * MiB;
  fs.writeFileSync(image, new Random(4).bytes(size));
  const before = new Before(store);
  const options = { image, store, otherImage: true };
  const shrank = { code: 'image-shrank', exitCode: 1 };
  const events = createEmitter();
  // The last event comes when everything is stored, and before it is published.
  events.on('progress', ({ doneBytes, totalBytes }) => {
    if (doneBytes === totalBytes) fs.truncateSync(image, size - 1);
  });
  const atTheEnd = take({ ...options, events });
  await t.rejects(atTheEnd, { ...shrank, details: { expected: size, got: size - 1 } });
  t.notOk(await before.isPublished(store, ['one'], ''));
  t.equal(fs.statSync(store).size, before.size);

  fs.truncateSync(image, size);
  // With so little memory, most of the image is not yet read when the first part is stored.
  let ended = false;
  const inTheMiddle = take({ ...options, memory: 16 * MiB }).finally(() => {
    ended = true;
  });
  inTheMiddle.catch(() => {});
  while (!ended && fs.statSync(store).size === before.size) {
    await new Promise((next) => setTimeout(next, 1));
  }
  fs.truncateSync(image, 3 * MiB);
  await t.rejects(inTheMiddle, { ...shrank, details: { expected: size } });
  t.notOk(await before.isPublished(store, ['one'], ''));
  t.equal(fs.statSync(store).size, before.size);
});
