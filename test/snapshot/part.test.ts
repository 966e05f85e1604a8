// What a killed restore or conversion leaves beside its output goes with the next one to the same output; what a live
// one has there stays.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MiB } from '../../disk/index.js';
import { convert, restore, take } from '../../snapshot/index.js';
import { randomBytes, sameFile, tempDir } from '../tools/files.js';
import { nvsnap, startNvsnap } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

t.setTimeout(120_000);

const makeStore = async (t: Test, bytes: number) => {
  const folder = tempDir(t);
  const [image, store, output] = ['image', 'store', 'output'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  fs.writeFileSync(image, randomBytes(bytes, 5));
  await take({ image, store, tag: 'one', compression: 'none' });
  const parts = (): string[] => fs.readdirSync(folder).filter((name) => name.includes('.part-'));
  return { folder, image, store, output, parts };
};

/** The number of a process that has ended. */
const deadPid = (): number => spawnSync('true').pid;

type Made = Awaited<ReturnType<typeof makeStore>>;

/** Starts a command, and stops or kills it as soon as its part is there. */
const interrupt = async (
  { output }: Made,
  args: readonly string[],
  signal: 'SIGSTOP' | 'SIGKILL',
) => {
  const running = startNvsnap(args);
  const { child } = running;
  while (child.exitCode === null && !fs.existsSync(`${output}.part-${child.pid}`)) {
    await new Promise((next) => setTimeout(next, 1));
  }
  child.kill(signal);
  return running;
};

t.test('restores', async (t) => {
  const made = await makeStore(t, 128 * MiB);
  const { image, store, output, parts } = made;
  const args = ['restore', store, 'one', output, '--force'];
  const { child: killed, ended: death } = await interrupt(made, args, 'SIGKILL');
  t.match(await death, { signal: 'SIGKILL' });
  t.same(parts(), [`output.part-${killed.pid}`]);
  const { child, ended } = await interrupt(made, args, 'SIGSTOP');
  t.same(parts(), [`output.part-${child.pid}`], 'the killed one is cleared away');
  await restore({ store, snapshot: 'one', output });
  t.ok(sameFile(image, output));
  t.same(parts(), [`output.part-${child.pid}`], 'the live one is not');
  child.kill('SIGCONT');
  t.match(await ended, { status: 0 });
  t.ok(sameFile(image, output));
  t.same(parts(), []);
});

t.test('conversions', async (t) => {
  const made = await makeStore(t, 48 * MiB);
  const { store, output, parts } = made;
  const args = ['convert', store, output, '--compression', 'zstd', '--level', '12', '--force'];
  const { child: killed, ended: death } = await interrupt(made, args, 'SIGKILL');
  t.match(await death, { signal: 'SIGKILL' });
  t.same(parts(), [`output.part-${killed.pid}`]);
  const { child, ended } = await interrupt(made, args, 'SIGSTOP');
  t.same(parts(), [`output.part-${child.pid}`], 'the killed one is cleared away');
  await convert({ store, output });
  checkClean(output);
  t.same(parts(), [`output.part-${child.pid}`], 'the live one is not');
  child.kill('SIGCONT');
  t.match(await ended, { status: 0 });
  checkClean(output);
  t.same(parts(), []);
});

t.test('only what is a part of this output, and nobody has, is cleared away', async (t) => {
  const { folder, image, store, output, parts } = await makeStore(t, MiB);
  const dead = deadPid();
  const other = join(folder, 'elsewhere');
  fs.writeFileSync(other, 'mine');
  const leave = (name: string): void => fs.writeFileSync(join(folder, name), 'left');
  const stay = [
    `output.part-${process.ppid}`,
    `output2.part-${dead}`,
    `output.part-${dead}x`,
    `my-output.part-${dead}`,
  ];
  for (const name of stay) leave(name);
  fs.symlinkSync(other, join(folder, `output.part-${deadPid()}`));
  stay.push(...parts().filter((name) => fs.lstatSync(join(folder, name)).isSymbolicLink()));
  // Of an earlier process that had our number, as the first in a container always has.
  for (const pid of [dead, process.pid]) leave(`output.part-${pid}`);
  await restore({ store, snapshot: 'one', output });
  t.ok(sameFile(image, output));
  t.same(parts().sort(), [...stay].sort());
  t.equal(fs.readFileSync(other, 'utf8'), 'mine');

  for (const pid of [dead, process.pid]) leave(`output.part-${pid}`);
  await convert({ store, output, force: true });
  checkClean(output);
  t.same(parts().sort(), [...stay].sort());
  t.match(await nvsnap(['list', output]), { status: 0 });
});
