// Who may do what at once, nvsnap and QEMU: told by QEMU's own locks, in both directions. A virtual machine has the
// store open, or qemu-nbd, which opens it as one does.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { list, prune, remove, restore, take, verify } from '../../snapshot/index.js';
import { randomBytes, sameFile, tempDir } from '../tools/files.js';
import { startNvsnap } from '../tools/nvsnap.js';
import { checkClean, convertSnapshot, qemuImg } from '../tools/qemu.js';

t.setTimeout(120_000);

const BYTES = 2 ** 20;

const makeStore = async (t: Test) => {
  const folder = tempDir(t);
  const [image, store, output] = ['image', 'store.qcow2', 'out'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  fs.writeFileSync(image, randomBytes(BYTES, 1));
  for (const tag of ['a', 'b']) {
    await take({ image, store, tag });
    fs.writeFileSync(image, randomBytes(BYTES, 2));
  }
  return { folder, image, store, output };
};

const readOr = (path: string): string => {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** A qemu-nbd that has the store open, until the test ends or `stop` is called. */
const openInQemu = async (t: Test, folder: string, args: readonly string[]) => {
  const socket = join(folder, `socket-${args.length}`);
  const child: ChildProcess = spawn('qemu-nbd', ['--persistent', '-k', socket, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
  };
  t.teardown(stop);
  while (!fs.existsSync(socket)) {
    if (child.exitCode !== null) throw new Error('qemu-nbd does not start');
    await new Promise((next) => setTimeout(next, 10));
  }
  return { stop, name: `process ${child.pid} (qemu-nbd)` };
};

/** A machine without anything but the store for a disk. */
const MACHINE = ['-machine', 'none', '-nodefaults', '-display', 'none', '-S'];
const driveOf = (store: string): string => `file=${store},format=qcow2,if=none,id=disk`;

/** True when a process holds QEMU's locks of somebody who writes. */
const holdsLocks = (pid: number | undefined): boolean => {
  try {
    return fs
      .readdirSync(`/proc/${pid}/fdinfo`)
      .some((fd) => /OFDLCK.* 201 20[13]$/m.test(readOr(`/proc/${pid}/fdinfo/${fd}`)));
  } catch {
    return false;
  }
};

/** A virtual machine that has the store for a disk, until the test ends or `stop` is called. */
const openInMachine = async (t: Test, store: string) => {
  const args = [...MACHINE, '-drive', driveOf(store)];
  const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
  };
  t.teardown(stop);
  while (!holdsLocks(child.pid)) {
    if (child.exitCode !== null) throw new Error('the machine does not start');
    await new Promise((next) => setTimeout(next, 10));
  }
  return { stop, name: `process ${child.pid} (qemu-system-x86)` };
};

const OPENERS = {
  'qemu-nbd': (t: Test, folder: string, store: string) =>
    openInQemu(t, folder, ['-f', 'qcow2', store]),
  'a virtual machine': (t: Test, _: string, store: string) => openInMachine(t, store),
} as const;

for (const [who, openIn] of Object.entries(OPENERS))
  t.test(`what ${who} has open for writing is not written to, and named`, async (t) => {
    const { folder, image, store, output } = await makeStore(t);
    const before = fs.readFileSync(store);
    const qemu = await openIn(t, folder, store);
    const locked = { code: 'store-locked', details: { holder: qemu.name } };
    await t.rejects(take({ image, store, tag: 'c' }), locked);
    await t.rejects(remove({ store, snapshots: ['a'] }), locked);
    await t.rejects(prune({ store, keep: { last: 1 } }), locked);
    t.ok(fs.readFileSync(store).equals(before), 'nothing was changed');
    t.equal((await list({ store })).length, 2, 'reading is possible');
    await restore({ store, snapshot: 'b', output });
    t.ok(sameFile(output, image));
    await qemu.stop();
    await take({ image, store, tag: 'c' });
    await remove({ store, snapshots: ['a'] });
    checkClean(store);
  });

t.test('what QEMU reads may grow, but nothing is taken away from it', async (t) => {
  const { folder, image, store } = await makeStore(t);
  const qemu = await openInQemu(t, folder, ['-r', '-f', 'qcow2', store]);
  await take({ image, store, tag: 'c' });
  const read = { code: 'store-read', details: { holder: qemu.name } };
  await t.rejects(remove({ store, snapshots: ['a'] }), read);
  await t.rejects(prune({ store, keep: { last: 1 } }), read);
  t.match(await prune({ store, keep: { last: 1 }, dryRun: true }), { removed: [{}, {}] });
  await qemu.stop();
  await remove({ store, snapshots: ['a'] });
  t.match(await verify({ store }), { snapshots: ['b', 'c'], damagedClusters: 0 });
});

t.test('while we write, QEMU reads and does not write', async (t) => {
  const { image, store, output } = await makeStore(t);
  // A take that waits for its input.
  const args = ['take', '-', store, '--size', String(BYTES), '--tag', 'c', '--json'];
  const { child, ended } = startNvsnap(args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const content = fs.readFileSync(image);
  child.stdin?.write(content.subarray(0, BYTES / 2));
  // Whoever tried with QEMU before the store is locked would keep the take from beginning.
  while (child.exitCode === null && !holdsLocks(child.pid))
    await new Promise((next) => setTimeout(next, 10));
  await new Promise((next) => setTimeout(next, 100));
  const { status, stderr } = qemuImg(['snapshot', '-c', 'theirs', store]);
  t.not(status, 0);
  t.match(stderr, /Failed to get "write" lock/, 'QEMU is told that somebody else writes');
  const machine = spawnSync('qemu-system-x86_64', [...MACHINE, '-drive', driveOf(store)]);
  t.equal(machine.status, 1, 'no machine starts with it');
  t.match(machine.stderr.toString(), /Failed to get "write" lock/);
  checkClean(store);
  convertSnapshot(store, 'b', output);
  t.ok(sameFile(output, image), 'reading is possible');
  await t.rejects(take({ image, store, tag: 'd' }), {
    code: 'store-locked',
    details: { holder: `process ${child.pid} (node)` },
  });
  child.stdin?.end(content.subarray(BYTES / 2));
  t.match(await ended, { status: 0 });
  checkClean(store);
  t.same(
    (await list({ store })).map(({ tag }) => tag),
    ['a', 'b', 'c'],
  );
});
