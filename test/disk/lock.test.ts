// One writer: between two processes, between two openings in one, and after a death.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { lockAgainstRemoval, lockAlone, lockWriter, removeAbandoned } from '../../disk/lock.js';
import { native } from '../../disk/native.js';
import { diskDir } from '../tools/files.js';
import { answerCalls } from './native-calls.js';

const HOLDER = `
  const fs = await import('node:fs');
  const { lockWriter } = await import(process.argv[1]);
  const path = process.argv[2];
  lockWriter(path, fs.openSync(path, 'r+'));
  console.log('locked');
  setInterval(() => {}, 1000);`;

/** Another process that holds the lock of `path` until it is ended. */
const startHolder = async (t: Test, path: string): Promise<ChildProcess> => {
  const module = new URL('../../disk/lock.js', import.meta.url).href;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, module, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => holder.kill('SIGKILL'));
  const [line] = (await once(holder.stdout, 'data')) as [Buffer];
  if (!line.toString().startsWith('locked')) throw new Error(`the holder says ${line}`);
  return holder;
};

const openStore = (t: Test): { path: string; open(): number } => {
  const path = join(diskDir(t), 'store');
  fs.writeFileSync(path, 'not empty');
  return {
    path,
    open: () => {
      const fd = fs.openSync(path, 'r+');
      t.teardown(() => {
        try {
          fs.closeSync(fd);
        } catch {
          // the test closed it
        }
      });
      return fd;
    },
  };
};

t.test(
  'a second process is told who holds the lock, and gets it when that one is killed',
  async (t) => {
    const { path, open } = openStore(t);
    const holder = await startHolder(t, path);
    const fd = open();
    t.throws(() => lockWriter(path, fd), {
      code: 'store-locked',
      exitCode: 1,
      details: { path, holder: `process ${holder.pid} (node)` },
    });
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    lockWriter(path, fd);
    t.pass('the lock of a dead process is nobody’s');
  },
);

t.test('two openings in one process exclude each other too', async (t) => {
  const { path, open } = openStore(t);
  const [first, second] = [open(), open()];
  lockWriter(path, first);
  t.throws(() => lockWriter(path, second), {
    code: 'store-locked',
    details: {
      holder: `process ${process.pid} (${fs.readFileSync('/proc/self/comm', 'utf8').trim()})`,
    },
  });
  // Closing some other descriptor of the file does not give the lock up, as classic locks would.
  fs.closeSync(open());
  t.throws(() => lockWriter(path, second), { code: 'store-locked' });
  fs.closeSync(first);
  lockWriter(path, second);
  t.pass('closing gives it up');
});

t.test('locks of different files have nothing to do with each other', async (t) => {
  const a = openStore(t);
  const b = openStore(t);
  lockWriter(a.path, a.open());
  lockWriter(b.path, b.open());
  t.pass('both are held');
});

t.test('a file that lost its name, or got another one, is not locked', async (t) => {
  const { path, open } = openStore(t);
  const fd = open();
  fs.renameSync(path, `${path}.old`);
  t.throws(() => lockWriter(path, fd), { code: 'store-exists', exitCode: 1 });
  fs.writeFileSync(path, 'another file');
  t.throws(() => lockWriter(path, fd), { code: 'store-exists' });
  lockWriter(path, open());
  t.pass('the file that has the name is');
});

t.test('where there are no locks, nobody writes, and it is said so', (t) => {
  const { path, open } = openStore(t);
  answerCalls(t, native.SYS_fcntl, () => -constants.errno.ENOLCK);
  const told = { code: 'locks-missing', message: /cannot be locked: ENOLCK\./ };
  t.throws(() => lockWriter(path, open()), told);
  t.throws(() => lockAlone(open(), path), told);
  lockAgainstRemoval(open());
  removeAbandoned(path);
  t.ok(fs.existsSync(path), 'what nobody can tell is left is not removed');
  t.end();
});
