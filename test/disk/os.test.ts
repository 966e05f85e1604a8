// System calls: above all holes, of which no byte that is not zero may be left out, whatever the file system says.

import fs from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import koffi from 'koffi';
import t, { type Test } from 'tap';
import { type Extent, intersectExtents } from '../../disk/extents.js';
import { native } from '../../disk/native.js';
import {
  allocatePages,
  dataExtents,
  dataWithin,
  ioctl,
  mapShared,
  moveToFree,
  PAGE_BYTES,
  punchHole,
  seekEnd,
  seizeThread,
  waitReadable,
} from '../../disk/os.js';
import { diskDir, Random } from '../tools/files.js';
import { answerCalls } from './native-calls.js';

const BLOCK = 64 * 1024;
const BLOCKS = 24;

/** True when every byte outside the extents is zero, and the extents are sorted and in range. */
const coversData = (content: Buffer, extents: readonly Extent[]): boolean => {
  let at = 0;
  for (const { start, end } of extents) {
    if (start < at || end <= start || end > content.length) return false;
    if (content.subarray(at, start).some((byte) => byte !== 0)) return false;
    at = end;
  }
  return !content.subarray(at).some((byte) => byte !== 0);
};

t.test('data extents of sparse files leave out nothing that is written', async (t) => {
  const folder = diskDir(t);
  const size = fc.integer({ min: 0, max: BLOCKS * BLOCK });
  const writes = fc.array(fc.nat(BLOCKS - 1), { maxLength: 8 });
  let run = 0;
  fc.assert(
    fc.property(size, writes, (length, blocks) => {
      run += 1;
      const fd = fs.openSync(join(folder, `sparse-${run}`), 'wx+');
      fs.ftruncateSync(fd, length);
      for (const block of blocks) {
        const at = block * BLOCK + 123;
        if (at < length)
          fs.writeSync(fd, Buffer.alloc(Math.min(5000, length - at), 1), 0, undefined, at);
      }
      const content = fs.readFileSync(join(folder, `sparse-${run}`));
      const covered = coversData(content, [...dataExtents(fd, { start: 0, end: length })]);
      const end = seekEnd(fd);
      fs.closeSync(fd);
      return covered && end === length;
    }),
    { numRuns: 40 },
  );
  t.pass('for every pattern of holes');
});

t.test('holes are found, made by seeking or by punching', async (t) => {
  const path = join(diskDir(t), 'sparse');
  const fd = fs.openSync(path, 'wx+');
  t.teardown(() => fs.closeSync(fd));
  fs.ftruncateSync(fd, BLOCKS * BLOCK);
  t.same([...dataExtents(fd, { start: 0, end: BLOCKS * BLOCK })], [], 'nothing but a hole');
  fs.writeSync(fd, Buffer.alloc(BLOCK, 1), 0, BLOCK, 4 * BLOCK);
  fs.writeSync(fd, Buffer.alloc(3 * BLOCK, 2), 0, 3 * BLOCK, 8 * BLOCK);
  t.same(
    [...dataExtents(fd, { start: 0, end: BLOCKS * BLOCK })],
    [
      { start: 4 * BLOCK, end: 5 * BLOCK },
      { start: 8 * BLOCK, end: 11 * BLOCK },
    ],
  );
  t.ok(punchHole(fd, { start: 9 * BLOCK, end: 10 * BLOCK }));
  t.same(
    [...dataExtents(fd, { start: 0, end: 9 * BLOCK + 5 })],
    [
      { start: 4 * BLOCK, end: 5 * BLOCK },
      { start: 8 * BLOCK, end: 9 * BLOCK },
    ],
    'cut at the size that was asked for',
  );
  t.equal(fs.fstatSync(fd).size, BLOCKS * BLOCK, 'punching keeps the length');
});

t.test('of many ranges it is asked as often as there are pieces of data', async (t) => {
  const path = join(diskDir(t), 'file');
  const fd = fs.openSync(path, 'w+');
  t.teardown(() => fs.closeSync(fd));
  fs.ftruncateSync(fd, 64 * BLOCK);
  for (const block of [2, 3, 4, 5, 40, 41])
    fs.writeSync(fd, Buffer.alloc(BLOCK, 1), 0, BLOCK, block * BLOCK);
  const known = [...dataExtents(fd, { start: 0, end: 64 * BLOCK })];
  const random = new Random(3);
  for (let round = 0; round < 200; round += 1) {
    const cuts = random.pick(2 * (1 + random.below(12)), 64 * 16).toSorted((a, b) => a - b);
    const ranges: Extent[] = [];
    for (let i = 0; i < cuts.length; i += 2) {
      const [start, end] = [(cuts[i] as number) * PAGE_BYTES, (cuts[i + 1] as number) * PAGE_BYTES];
      ranges.push({ start, end });
    }
    t.same([...dataWithin(fd, ranges)], [...intersectExtents(ranges, known)]);
  }
  const { call } = native;
  let seeks = 0;
  t.teardown(() => Object.assign(native, { call }));
  const counting: typeof call = (number, ...args) => {
    if (number === native.SYS_lseek) seeks += 1;
    return call(number, ...args);
  };
  Object.assign(native, { call: counting });
  const blocks = Array.from({ length: 64 }, (_, i) => ({ start: i * BLOCK, end: i * BLOCK + 1 }));
  t.equal([...dataWithin(fd, blocks)].length, 6);
  t.equal(seeks, 5, 'start and end of both, and that there is no third');
});

t.test('what cannot seek has no holes', async (t) => {
  const fd = fs.openSync('/dev/null', 'r');
  t.teardown(() => fs.closeSync(fd));
  t.same([...dataExtents(fd, { start: 0, end: 100 })], [{ start: 0, end: 100 }]);
  t.ok(waitReadable(fd, 1000), 'and its end is something to read');
});

t.test('shared pages begin on a boundary, and are zero and whole', async (t) => {
  for (const bytes of [1, PAGE_BYTES, 3 * PAGE_BYTES + 1, 5_000_000]) {
    const { memory, start } = allocatePages(bytes);
    const view = new Uint8Array(memory, start, bytes);
    t.equal(koffi.address(view) % BigInt(PAGE_BYTES), 0n);
    t.ok(view.every((byte) => byte === 0));
  }
});

t.test('a call that fails says how, as Node does', async (t) => {
  const fd = fs.openSync('/dev/null', 'r');
  t.teardown(() => fs.closeSync(fd));
  t.throws(() => ioctl(fd, 0xffff, Buffer.alloc(8)), {
    code: 'ENOTTY',
    message: 'ENOTTY: inappropriate ioctl for device, ioctl',
  });
  t.throws(() => mapShared(fd, 0, 4096), { code: 'EACCES' });
  t.ok(seekEnd(9_999) < 0);
  t.equal(seizeThread(2 ** 22 + 1), constants.errno.ESRCH);
});

const { EPERM, EINVAL } = constants.errno;

/** A file system without hard links, and perhaps without such renaming; as it was when the test ends. */
const withoutLinks = (t: Test, renames: boolean): void => {
  const { linkSync } = fs;
  fs.linkSync = () => {
    throw Object.assign(new Error('EPERM: operation not permitted, link'), {
      code: 'EPERM',
      errno: -EPERM,
    });
  };
  t.teardown(() => {
    fs.linkSync = linkSync;
  });
  answerCalls(t, native.SYS_renameat2, () => (renames ? undefined : -EINVAL));
};

for (const [where, prepare] of [
  ['everywhere else', () => {}],
  ['without hard links', (t: Test) => withoutLinks(t, true)],
  ['without hard links and such renaming', (t: Test) => withoutLinks(t, false)],
] as const) {
  t.test(`a name that is free is given, and no other: ${where}`, (t) => {
    prepare(t);
    const folder = diskDir(t);
    const [from, to, other] = ['from', 'to', 'other'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    fs.writeFileSync(from, 'new');
    fs.writeFileSync(other, 'old');
    t.throws(() => moveToFree(from, other), { code: 'EEXIST' });
    t.same(fs.readdirSync(folder).sort(), ['from', 'other'], 'nothing has changed');
    t.equal(fs.readFileSync(other, 'utf8'), 'old');
    moveToFree(from, to);
    t.same(fs.readdirSync(folder).sort(), ['other', 'to']);
    t.equal(fs.readFileSync(to, 'utf8'), 'new');
    fs.symlinkSync('nothing', from);
    t.throws(() => moveToFree(to, from), { code: 'EEXIST' }, 'a link to nothing has a name too');
    t.throws(() => moveToFree(to, join(folder, 'no', 'folder')), { code: 'ENOENT' });
    t.equal(fs.readFileSync(to, 'utf8'), 'new');
    t.end();
  });
}
