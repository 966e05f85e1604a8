// What soft-dirty reads in /proc, of real processes and of made-up text; who else writes; and its state.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  lockOf,
  lostBetween,
  mayBeHuge,
  scannedOf,
  unfitFileSystem,
} from '../../dirty/soft/ground.js';
import { otherWriter, type Target } from '../../dirty/soft/others.js';
import { collect, markedPages } from '../../dirty/soft/pagemap.js';
import {
  fileKey,
  hasHugePages,
  mapsOf,
  parseFlags,
  parseMaps,
  statField,
} from '../../dirty/soft/process.js';
import { lockFile, ProcessFiles, runFolder } from '../../dirty/soft/run-folder.js';
import {
  emptyPeriod,
  type ImageState,
  join as joined,
  loadImage,
  loadProcess,
  saveImage,
  saveProcess,
} from '../../dirty/soft/state.js';
import { bitmapExtents, MiB, PAGE_BYTES } from '../../disk/index.js';
import { tempDir } from '../tools/files.js';
import { Mapper } from '../tools/mapper.js';

const SMAPS = `7f0000000000-7f0000200000 rw-s 00000000 00:1b 42                 /dev/shm/image
Size:               2048 kB
ShmemPmdMapped:        0 kB
VmFlags: rd wr sh mr mw me ms lo sd
7f0000200000-7f0000400000 rw-s 00200000 00:1b 42                 /dev/shm/image
ShmemPmdMapped:     2048 kB
FilePmdMapped:         0 kB
VmFlags: rd wr sh mr mw me ms sd
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                  [stack]
VmFlags: rd wr mr mw me gd ac
`;

t.test('maps, smaps and stat are read', async (t) => {
  const mapped = parseMaps(
    SMAPS.split('\n')
      .filter((line) => /^7f/.test(line))
      .join('\n'),
  );
  t.same(mapped[1], {
    start: 0x7f0000200000,
    end: 0x7f0000400000,
    rights: 'rw-s',
    offset: 0x200000,
    file: '00:1b 42',
  });
  t.throws(() => parseMaps('nonsense'));
  t.ok(parseFlags(SMAPS).get(0x7f0000000000)?.has('lo'));
  t.notOk(parseFlags(SMAPS).get(0x7f0000200000)?.has('lo'));
  t.notOk(hasHugePages(SMAPS, new Set([0x7f0000000000])));
  t.ok(hasHugePages(SMAPS, new Set([0x7f0000200000])));
  const stat = '12 (a ) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20';
  t.equal(statField(stat, 3), 'S');
  t.equal(statField(stat, 22), '4711');
  t.throws(() => statField(stat, 28));
});

t.test('a mapping of a real process is found by device and inode', async (t) => {
  const image = join(tempDir(t), 'image');
  fs.writeFileSync(image, Buffer.alloc(MiB));
  const mapper = new Mapper();
  t.teardown(() => mapper.close());
  await mapper.map(0, image);
  const key = fileKey(fs.statSync(image, { bigint: true }));
  const found = mapsOf(mapper.pid).filter(({ file }) => file === key);
  t.equal(found.length, 1);
  t.match(found[0], { offset: 0, rights: 'rw-s' });
  t.equal(lockOf(mapper.pid, found), false);
  await mapper.tell({ do: 'lock', image: 0 });
  t.equal(lockOf(mapper.pid, found), true);
});

/** A file of made-up entries: "m" has the mark, "p" is in the page table, "b" both, "-" neither. */
const pagemapOf = (t: Test, pages: string): number => {
  const path = join(tempDir(t), 'pagemap');
  const raw = Buffer.alloc(pages.length * 8);
  for (const [i, page] of [...pages].entries()) {
    const marked = page === 'm' || page === 'b' ? 1n << 55n : 0n;
    const present = page === 'p' || page === 'b' ? 1n << 63n : 0n;
    raw.writeBigUInt64LE(marked | present | 0x1234n, i * 8);
  }
  fs.writeFileSync(path, raw);
  const fd = fs.openSync(path, 'r');
  t.teardown(() => fs.closeSync(fd));
  return fd;
};

t.test('what has the mark, and what is not in the page table, may have changed', async (t) => {
  const fd = pagemapOf(t, 'pppbpm-pbbpp');
  const bits = Buffer.alloc(2);
  t.equal(collect(fd, { start: 0, count: 12 }, { bits, at: 0, limit: 12 }), 4);
  const pages = (raw: Buffer): number[] =>
    [...bitmapExtents([raw], 1, 16)].flatMap(({ start, end }) =>
      Array.from({ length: end - start }, (_, i) => start + i),
    );
  t.same(pages(bits), [3, 5, 6, 8, 9]);
  t.same(markedPages(fd, { start: 0, count: 12 }), [3, 5, 8, 9]);
  const part = Buffer.alloc(2);
  collect(fd, { start: 3 * PAGE_BYTES, count: 9 }, { bits: part, at: 1, limit: 6 });
  t.same(pages(part), [1, 3, 4], 'nothing past the end of the image');
  t.throws(() => collect(fd, { start: 0, count: 13 }, { bits, at: 0, limit: 13 }), /ended early/);
  const many = pagemapOf(t, `${'p'.repeat(300_000)}b`);
  t.same(markedPages(many, { start: 0, count: 300_001 }), [300_000], 'in more than one piece');
});

t.test('the ground is firm or it is not', async (t) => {
  const mounts = [
    '22 1 0:20 / /dev/shm rw,nosuid shared:2 - tmpfs tmpfs rw,size=4k',
    '23 1 0:21 / /huge rw - tmpfs tmpfs rw,size=4k,huge=always',
    '24 1 0:22 / /never rw - tmpfs tmpfs rw,huge=never,size=4k',
  ].join('\n');
  const device = (minor: number): bigint => BigInt(minor);
  t.notOk(mayBeHuge(mounts, device(20)));
  t.ok(mayBeHuge(mounts, device(21)));
  t.notOk(mayBeHuge(mounts, device(22)));
  t.ok(mayBeHuge(mounts, device(2)), 'of a mount that is not there nothing is known');
  t.equal(scannedOf('pgscan_direct 4\npgscan_anon 17\npgscan_file 9\n'), '17');
  t.equal(scannedOf('pgscan_direct 4\n'), null);
  const at = (scanned: string | null, locked: boolean | 'huge') => ({ scanned, locked });
  t.equal(lostBetween(at('1', false), at('1', false), true), undefined);
  t.equal(lostBetween(at('1', true), at('2', true), true), undefined);
  t.equal(lostBetween(at(null, true), at(null, true), false), undefined);
  t.match(lostBetween(at('1', false), at('2', true), true), /short of memory/);
  t.match(lostBetween(at(null, false), at(null, false), true), /short of memory/);
  t.match(lostBetween(at('1', false), at('1', false), false), /not locked/);
  t.match(lostBetween(at('1', true), at('1', 'huge'), true), /huge pages/);
});

t.test('only tmpfs proves that no mark was lost', async (t) => {
  const shared = fs.mkdtempSync('/dev/shm/nvsnap-test-');
  t.teardown(() => fs.rmSync(shared, { recursive: true }));
  const unfit = (folder: string, alone: boolean): string | undefined => {
    const path = join(folder, 'image');
    fs.writeFileSync(path, 'x');
    const fd = fs.openSync(path, 'r');
    try {
      return unfitFileSystem(path, fd, alone);
    } finally {
      fs.closeSync(fd);
    }
  };
  t.equal(unfit(shared, false), undefined);
  const folder = tempDir(t);
  if (fs.statfsSync(folder).type === 0x01021994) return;
  t.match(unfit(folder, false), /only of an image on tmpfs/);
  t.equal(unfit(folder, true), undefined);
});

t.test('whoever else may write is found', async (t) => {
  const image = join(tempDir(t), 'image');
  fs.writeFileSync(image, Buffer.alloc(MiB));
  const { dev, ino } = fs.statSync(image, { bigint: true });
  const target: Target = { realPath: image, dev, ino };
  const mapper = new Mapper();
  const other = new Mapper();
  t.teardown(() => Promise.all([mapper.close(), other.close()]));
  await mapper.map(0, image);
  const found = (pid = mapper.pid): string | undefined => otherWriter(pid, target, true);
  t.equal(found(), undefined);
  await other.map(0, image);
  t.equal(found(), `process ${other.pid} has mapped it for writing too`);
  await other.tell({ do: 'unmap', image: 0 });
  t.equal(found(), undefined);
  const reader = fs.openSync(image, 'r');
  t.equal(found(), undefined, 'who only reads does not count');
  fs.closeSync(reader);
  const writer = fs.openSync(image, 'r+');
  t.equal(found(), `process ${process.pid} has it open for writing`);
  t.equal(found(process.pid), `process ${mapper.pid} has mapped it for writing too`);
  fs.closeSync(writer);
  await mapper.close();
  const direct = fs.openSync(image, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
  t.match(otherWriter(process.pid, target, false), /direct I\/O|cannot be/);
  t.equal(found(process.pid), undefined, 'unless it is promised that this is no matter');
  fs.closeSync(direct);
  const { status, stdout } = spawnSync('losetup', ['-f', '--show', image], { encoding: 'utf8' });
  if (status !== 0) return;
  const device = stdout.trim();
  t.equal(found(process.pid), `the loop device ${device.replace('/dev/', '')} is made of it`);
  spawnSync('losetup', ['-d', device]);
});

const stateOf = (size: number): ImageState => ({
  ...{ identity: 'file 1:2:3', realPath: '/dev/shm/image', file: '00:1b 42', size },
  ...{ alone: false, onTmpfs: true, line: 'line', since: null },
  ...{ ranges: '[]', locked: false, changed: '17' },
  before: emptyPeriod(size, 'why not'),
  after: emptyPeriod(size, null),
});

t.test('state comes back as it was, or not at all', async (t) => {
  const folder = tempDir(t);
  const path = join(folder, 'state');
  const state = stateOf(9 * MiB + 1);
  state.before.bits[3] = 0xa5;
  state.after.bits[288] = 1;
  saveImage(path, state);
  t.match(loadImage(path), state);
  const raw = fs.readFileSync(path);
  for (let at = 0; at < raw.length; at += 1) {
    const damaged = Buffer.from(raw);
    damaged[at] = (damaged[at] as number) ^ 4;
    fs.writeFileSync(path, damaged);
    if (loadImage(path) !== undefined) t.fail(`byte ${at} is believed`);
  }
  for (const length of [0, 10, 65, raw.length - 1]) {
    fs.writeFileSync(path, raw.subarray(0, length));
    t.equal(loadImage(path), undefined);
  }
  t.equal(loadImage(join(folder, 'none')), undefined);
  const facts = { boot: 'b', identity: { started: '1', memory: 'm' }, canary: 3, scanned: null };
  saveProcess(path, facts);
  t.match(loadProcess(path), facts);
  t.same(fs.readdirSync(folder), ['state'], 'nothing is left beside it');
});

t.test('dirt of two periods adds up, and so do doubts', async (t) => {
  const { before, after } = stateOf(40 * PAGE_BYTES);
  before.bits[0] = 1;
  after.bits[0] = 2;
  after.bits[4] = 4;
  t.same([...joined(before, after).bits], [3, 0, 0, 0, 4]);
  t.equal(joined(before, after).doubt, 'why not');
  t.equal(joined(after, before).doubt, 'why not');
  t.equal(joined(after, after).doubt, null);
});

t.test('state is kept where nobody else can write', async (t) => {
  const folder = tempDir(t);
  const mine = join(folder, 'mine');
  t.equal(runFolder('soft-dirty', mine), mine);
  t.equal(fs.statSync(mine).mode & 0o777, 0o700);
  fs.chmodSync(mine, 0o777);
  t.throws(() => runFolder('soft-dirty', mine), { code: 'dirty-unsuitable' });
  fs.chmodSync(mine, 0o700);
  fs.symlinkSync(mine, join(folder, 'link'));
  t.throws(() => runFolder('soft-dirty', join(folder, 'link')), { code: 'dirty-unsuitable' });
  const files = new ProcessFiles(mine, 7);
  const fd = lockFile('soft-dirty', files.lock);
  t.throws(() => lockFile('soft-dirty', files.lock), { code: 'dirty-busy' });
  fs.closeSync(fd);
  const gone = new ProcessFiles(mine, 2 ** 22 + 1);
  fs.writeFileSync(gone.image('00:1b 42'), 'x');
  t.equal(gone.images().length, 1);
  files.sweep();
  t.equal(gone.images().length, 0, 'what processes left that are gone is removed');
});
