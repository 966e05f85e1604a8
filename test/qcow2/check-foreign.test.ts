// Files that QEMU wrote: our check and its own must agree, on sound files and on damaged ones.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CheckReport, checkStore } from '../../qcow2/check.js';
import { Store } from '../../qcow2/store.js';
import { tempDir } from '../tools/files.js';
import { check as qemuCheck, qemuImg } from '../tools/qemu.js';
import { damaged, makeStore } from './patient.js';

const checkFile = (path: string): CheckReport => {
  const store = Store.open(path, 'r');
  try {
    return checkStore(store);
  } finally {
    store.file.close();
  }
};

/** Runs qemu-img, which must succeed. */
const qemu = (...args: string[]): void => {
  const { status, stderr } = qemuImg(args);
  if (status !== 0) throw new Error(`qemu-img ${args.join(' ')}: ${stderr}`);
};

/** Lets qemu-io write to a file. */
const write = (path: string, ...commands: string[]): void => {
  const args = ['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), path];
  const { status, stderr, error } = spawnSync('qemu-io', args, { encoding: 'utf8' });
  if (error) throw new Error('qemu-io could not be started', { cause: error });
  if (status !== 0) throw new Error(`qemu-io ${commands.join('; ')}: ${stderr}`);
};

/** Writes of every kind, and snapshots between them where the refcounts are wide enough. */
const exercise = (path: string, snapshots: number): void => {
  write(path, 'write -P 1 0 1M', 'write -P 2 3M 100k', 'write -z 512k 64k', 'discard 768k 128k');
  if (snapshots > 0) qemu('snapshot', '-c', 'one', path);
  write(path, 'write -P 3 64k 300k', 'write -z -u 3M 64k', 'write -P 4 5M 4k');
  if (snapshots > 1) qemu('snapshot', '-c', 'two', path);
  write(path, 'write -P 5 0 8k', 'write -P 6 6M 1M');
};

const agree = (t: Test, path: string, name: string): CheckReport => {
  const theirs = qemuCheck(path);
  const ours = checkFile(path);
  t.equal(ours.corruptions > 0, theirs.corruptions > 0, `${name}: corruptions`, {
    ours: ours.findings,
    theirs: theirs.text,
  });
  t.equal(ours.leaks, theirs.leaks, `${name}: leaks`);
  return ours;
};

const agreeOnSound = (t: Test, path: string, name: string): CheckReport => {
  t.match(qemuCheck(path), { status: 0, corruptions: 0, leaks: 0 }, `${name} is sound`);
  const report = agree(t, path, name);
  t.match(report, { corruptions: 0, leaks: 0 });
  return report;
};

t.test('every cluster size, with snapshots', async (t) => {
  const folder = tempDir(t);
  for (const size of ['512', '4k', '64k', '2M']) {
    const path = join(folder, `${size}.qcow2`);
    qemu('create', '-q', '-f', 'qcow2', '-o', `cluster_size=${size}`, path, '8M');
    agreeOnSound(t, path, `an empty file of ${size} clusters`);
    exercise(path, 2);
    const { allocated, snapshots } = agreeOnSound(t, path, `${size} clusters`);
    t.equal(snapshots, 2);
    t.ok(allocated.l1 >= 3 && allocated.data > 0);
    qemu('snapshot', '-d', 'one', path);
    agreeOnSound(t, path, `${size} clusters, a snapshot deleted`);
    qemu('snapshot', '-a', 'two', path);
    agreeOnSound(t, path, `${size} clusters, a snapshot applied`);
  }
});

t.test('every refcount width', async (t) => {
  const folder = tempDir(t);
  for (const bits of [1, 2, 4, 8, 16, 32, 64]) {
    const path = join(folder, `${bits}.qcow2`);
    const options = `cluster_size=4k,refcount_bits=${bits}`;
    qemu('create', '-q', '-f', 'qcow2', '-o', options, path, '8M');
    // A cluster that the disk and one snapshot share has a refcount of 2.
    exercise(path, bits === 1 ? 0 : 2);
    agreeOnSound(t, path, `${bits}-bit refcounts`);
    const broken = damaged(path, (p) => {
      const blocks = p.word(p.store.header.refcountTableOffset);
      p.flip(Number(blocks) + Math.max(1, bits / 8) - 1, 0);
    });
    t.ok(agree(t, broken, `${bits}-bit refcounts, damaged`).corruptions > 0);
  }
});

t.test('extended L2 entries', async (t) => {
  const folder = tempDir(t);
  for (const size of ['16k', '64k', '2M']) {
    const path = join(folder, `extended-${size}.qcow2`);
    const options = `extended_l2=on,cluster_size=${size}`;
    qemu('create', '-q', '-f', 'qcow2', '-o', options, path, '8M');
    agreeOnSound(t, path, `an empty file of ${size} clusters`);
    write(path, 'write -c -P 1 6M 2M');
    exercise(path, 2);
    const { allocated } = agreeOnSound(t, path, `${size} clusters`);
    t.ok(allocated.l2 > 1 && allocated.data > 0);
    qemu('snapshot', '-d', 'one', path);
    agreeOnSound(t, path, `${size} clusters, a snapshot deleted`);
  }
});

t.test('version 2, compressed clusters, preallocation, bitmaps', async (t) => {
  const folder = tempDir(t);
  const made = (name: string, options: string): string => {
    const path = join(folder, `${name}.qcow2`);
    qemu('create', '-q', '-f', 'qcow2', '-o', options, path, '8M');
    return path;
  };
  const old = made('old', 'compat=0.10');
  write(old, 'write -P 1 0 1M');
  qemu('snapshot', '-c', 'one', old);
  write(old, 'write -P 2 64k 128k');
  agreeOnSound(t, old, 'version 2');

  for (const type of ['zlib', 'zstd']) {
    const path = made(type, `cluster_size=64k,compression_type=${type}`);
    write(path, 'write -c -P 1 0 64k', 'write -c -P 2 64k 64k', 'write -c -P 3 1M 64k');
    qemu('snapshot', '-c', 'one', path);
    write(path, 'write -P 4 64k 64k', 'write -c -P 5 2M 64k');
    agreeOnSound(t, path, `${type} clusters`);
  }

  const full = made('full', 'preallocation=metadata,cluster_size=4k');
  write(full, 'write -P 1 1M 64k');
  agreeOnSound(t, full, 'preallocated');

  const tracked = made('tracked', 'cluster_size=4k');
  qemu('bitmap', '--add', '-g', '4k', tracked, 'b0');
  write(tracked, 'write -P 1 0 2M', 'write -P 2 6M 4k');
  qemu('bitmap', '--add', tracked, 'b1');
  const { allocated } = agreeOnSound(t, tracked, 'dirty bitmaps');
  t.ok(allocated.bitmap >= 3, 'a directory, a table, a bitmap');
  const directory = damaged(tracked, (p) => {
    const extension = p.store.extensions.find(({ type }) => type === 0x2385_2875);
    p.setWord(Number(extension?.data.readBigUInt64BE(16)), 1n << 40n);
  });
  t.ok(checkFile(directory).findings.some(({ code }) => code === 'outside-file'));
});

t.test('an empty disk', async (t) => {
  const path = join(tempDir(t), 'empty.qcow2');
  qemu('create', '-q', '-f', 'qcow2', path, '0');
  agreeOnSound(t, path, 'a disk of 0 bytes');
});

t.test('a writer that died leaves what both find', async (t) => {
  const path = join(tempDir(t), 'lazy.qcow2');
  qemu('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', path, '8M');
  const commands = ['-c', 'write -P 1 0 1M', '-c', 'flush', '-c', 'sigraise 9'];
  t.equal(spawnSync('qemu-io', ['-f', 'qcow2', ...commands, path]).signal, 'SIGKILL');
  const report = agree(t, path, 'lazy refcounts');
  t.ok(report.corruptions > 0, 'its refcounts were never written');
  t.match(
    report.findings.filter(({ kind }) => kind === 'note'),
    [{ code: 'marked-dirty' }],
  );
});

t.test('what only a check of ours looks at', async (t) => {
  const path = join(tempDir(t), 'twins.qcow2');
  qemu('create', '-q', '-f', 'qcow2', path, '8M');
  write(path, 'write -P 1 0 1M');
  qemu('snapshot', '-c', 'one', path);
  qemu('snapshot', '-c', 'one', path);
  t.match(
    checkFile(path).findings.filter(({ code }) => code === 'duplicate'),
    [{ kind: 'note' }],
    'the same tag twice',
  );
  const twins = damaged(path, (p) => {
    // Two entries of 40 + 24 bytes and "1one" or "2one", each padded to 72.
    p.write(p.store.header.snapshotsOffset + 72 + 64, Buffer.from('1'));
  });
  t.ok(
    checkFile(twins).findings.some(
      ({ kind, code }) => kind === 'corruption' && code === 'duplicate',
    ),
    'the same id twice',
  );
  const marked = damaged(path, (p) => p.flip(79, 1));
  t.ok(checkFile(marked).findings.some(({ code }) => code === 'marked-corrupt'));
});

t.test('COPIED is exact where QEMU writes in place', async (t) => {
  const path = join(tempDir(t), 'copied.qcow2');
  qemu('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', path, '8M');
  exercise(path, 1);
  for (const spot of ['L1', 'L2'] as const) {
    const broken = damaged(path, (p) => {
      p.flip(spot === 'L1' ? p.store.header.l1Offset : p.entry(p.activeL2(), 'plain'), 7);
    });
    const report = agree(t, broken, `COPIED in the ${spot} table`);
    t.ok(report.findings.some(({ kind, code }) => kind === 'corruption' && code === 'copied'));
  }
});

t.test('a store of nvsnap that QEMU has written to', async (t) => {
  const folder = tempDir(t);
  const path = await makeStore(folder, { clusterSize: 4096, compression: 'zstd' });
  write(path, 'write -P 9 0 16k', 'write -P 8 100k 4k');
  agreeOnSound(t, path, 'after a write');
  qemu('snapshot', '-c', 'theirs', path);
  const report = agreeOnSound(t, path, 'after a snapshot');
  t.match(
    report.findings.filter(({ code }) => code === 'digest-absent'),
    [{ kind: 'note' }],
  );
  qemu('snapshot', '-d', 'second', path);
  t.equal(agreeOnSound(t, path, 'after one of ours was deleted').snapshots, 3);
});
