// Both sides killed at each step. A man in the middle of the QMP socket stops the world where a step begins: nvsnap killed
// there must leave a machine that runs, QEMU killed there a sentence; and in either case no half of a point.

import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { list } from '../../snapshot/index.js';
import { listPoints, removePoints, takePoint } from '../../vm/index.js';
import { tempDir } from '../tools/files.js';
import { startNvsnap } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';
import { type TinyMachine, tinyMachine } from './machine.js';
import { Middleman, type Verdict } from './middleman.js';

t.setTimeout(120_000);

/** Within this, a machine must run again. */
const AGAIN_MS = 10_000;

const settingsOf = (machine: TinyMachine) =>
  machine.ask(async (qmp) => [
    await qmp.execute('query-migrate-capabilities'),
    await qmp.execute('query-migrate-parameters'),
  ]);

const tagsIn = async (stores: string): Promise<Set<string>> => {
  const tags = new Set<string>();
  const names = fs.readdirSync(stores, { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((each) => each.endsWith('.qcow2'))) {
    checkClean(join(stores, name));
    for (const { tag } of await list({ store: join(stores, name) })) tags.add(tag);
  }
  return tags;
};

const pointsIn = async (stores: string): Promise<string[]> =>
  (await listPoints({ stores })).map(({ tag, problem }) => (problem === null ? tag : problem));

const untilRunning = async (machine: TinyMachine): Promise<void> => {
  const until = performance.now() + AGAIN_MS;
  for (;;) {
    const running = await machine.ask(async (qmp) => (await qmp.execute('query-status')).running);
    if (running) return machine.counts();
    if (performance.now() > until) throw new Error('the machine stands still');
    await sleep(50);
  }
};

/** Commands before which each side is killed: the beginning of each step in which QEMU is asked for something. */
const STEPS = ['migrate-set-capabilities', 'stop', 'migrate', 'query-migrate', 'cont'] as const;

const args = (socket: string, stores: string, tag: string): string[] => [
  ...['vm', 'take', '--qmp', socket, '--stores', stores, '--tag', tag],
  ...['--freeze', 'pause', '--quiet'],
];

t.test(
  'nvsnap killed at each step leaves a machine that runs, and no half of a point',
  async (t) => {
    const folder = tempDir(t);
    const machine = await tinyMachine(t, folder);
    const stores = join(folder, 'points');
    const before = await settingsOf(machine);
    const run = async (step: string, signal: NodeJS.Signals): Promise<string> => {
      let reached: (() => void) | undefined;
      const there = new Promise<void>((resolve) => (reached = resolve));
      const hear = (command: string): Verdict => {
        // The settings are set twice: to and back.
        if (command !== step || !reached) return 'pass';
        reached();
        reached = undefined;
        return 'hold';
      };
      const middle = await Middleman.between(machine.socket, hear);
      const env = { ...process.env, TMPDIR: folder };
      const victim = startNvsnap(args(middle.socket, stores, 'cut'), { env });
      await Promise.race([there, victim.ended]);
      victim.child.kill(signal);
      if (signal === 'SIGKILL') await victim.ended;
      middle.release();
      const { stderr, status } = await victim.ended;
      if (signal === 'SIGTERM')
        t.match({ stderr, status }, { stderr: /Stopped by SIGTERM/, status: 1 }, step);
      // The watchdog has a connection until it is done.
      await untilRunning(machine);
      middle.close();
      t.same(await settingsOf(machine), before, `${step}: what was set is as before`);
      t.same(await pointsIn(stores), [], `${step}: no half of a point`);
      const litter = fs.readdirSync(folder).filter((name) => name.startsWith('nvsnap-vm-'));
      t.same(litter, [], `${step}: no socket is left`);
      return stderr;
    };
    for (const step of STEPS) await run(step, 'SIGKILL');
    t.match(
      fs.readFileSync(join(stores, 'watchdog.log'), 'utf8'),
      /is gone before it was done\n.*the machine is running again/,
    );
    await run('migrate', 'SIGTERM');
    await takePoint({ qmp: machine.socket, stores, tag: 'whole', freeze: 'pause' });
    t.same(await pointsIn(stores), ['whole']);
    t.same([...(await tagsIn(stores))], ['whole'], 'what killed runs have left is gone');
  },
);

t.test('QEMU killed at each step is told of, and leaves no half of a point', async (t) => {
  const folder = tempDir(t);
  const stores = join(folder, 'points');
  for (const step of STEPS) {
    const machine = await tinyMachine(t, folder, { name: step });
    const hear = async (command: string): Promise<Verdict> => {
      if (command === step) await machine.kill();
      return 'pass';
    };
    const middle = await Middleman.between(machine.socket, hear);
    const take = takePoint({ qmp: middle.socket, stores, tag: 'cut', freeze: 'pause' });
    // All that a point needs was there when it was told to go on.
    if (step === 'cont') t.match(await take, { tag: 'cut', pauseMs: null });
    else await t.rejects(take, { code: 'qmp-closed' }, step);
    middle.close();
    t.same(await pointsIn(stores), step === 'cont' ? ['cut'] : []);
  }
  t.same([...(await tagsIn(stores))], ['cut']);
});

t.test('nvsnap killed while it reads and publishes', async (t) => {
  const folder = tempDir(t);
  const machine = await tinyMachine(t, folder);
  const stores = join(folder, 'points');
  await takePoint({ qmp: machine.socket, stores, tag: 'first', freeze: 'pause' });
  const kills: [string, (tag: string) => boolean][] = [
    ['a snapshot is there', (tag) => fs.existsSync(join(stores, 'points', `${tag}.begun`))],
    ['the device state is there', (tag) => fs.existsSync(join(stores, 'points', `${tag}.state`))],
    ['the manifest is there', (tag) => fs.existsSync(join(stores, 'points', `${tag}.json`))],
  ];
  const whole = ['first'];
  for (const [i, [what, isThere]] of kills.entries()) {
    const cut = `cut-${i}`;
    const victim = startNvsnap(args(machine.socket, stores, cut));
    while (!isThere(cut) && victim.child.exitCode === null) await sleep(1);
    victim.child.kill('SIGKILL');
    await victim.ended;
    await untilRunning(machine);
    const points = await pointsIn(stores);
    if (points.includes(cut)) whole.push(cut);
    t.same(points, whole, what);
    // Whoever comes next removes what is left.
    await removePoints({ stores, tags: [] });
    t.same(
      [...(await tagsIn(stores))].sort(),
      [...whole].sort(),
      'only whole points have snapshots',
    );
  }
});

t.test('a pause that is too long is ended by the watchdog, and the point is none', async (t) => {
  const folder = tempDir(t);
  const machine = await tinyMachine(t, folder);
  const stores = join(folder, 'points');
  const base = { qmp: machine.socket, stores, freeze: 'pause', maxPauseMs: 700 } as const;
  await t.rejects(takePoint({ ...base, tag: 'slow', whilePaused: 'sleep 30' }), {
    code: 'vm-resumed',
  });
  await machine.counts();
  // One that hangs for good: the machine goes on all the same.
  const hung = startNvsnap([
    ...args(machine.socket, stores, 'hung'),
    ...['--max-pause', '1s', '--while-paused', `touch ${folder}/there; sleep 30`],
  ]);
  while (!fs.existsSync(join(folder, 'there'))) await sleep(5);
  hung.child.kill('SIGSTOP');
  await machine.counts();
  hung.child.kill('SIGCONT');
  t.match(await hung.ended, { status: 1, stderr: /went on before its memory was read/ });
  t.match(
    fs.readFileSync(join(stores, 'watchdog.log'), 'utf8'),
    /paused for more than 1 s: told it to go on/,
  );
  t.same(await pointsIn(stores), []);
  t.same([...(await tagsIn(stores))], []);
});

const untouched = async (t: Test, machine: TinyMachine, stores: string, code: string) => {
  await t.rejects(takePoint({ qmp: machine.socket, stores, freeze: 'pause' }), { code });
};

t.test('two runs at once: the second is told who is at work', async (t) => {
  const folder = tempDir(t);
  const machine = await tinyMachine(t, folder);
  const other = await tinyMachine(t, folder, { name: 'other' });
  const stores = join(folder, 'points');
  const first = takePoint({
    ...{ qmp: machine.socket, stores, freeze: 'pause' },
    whilePaused: `touch ${folder}/there; while [ -e ${folder}/there ]; do sleep 0.02; done`,
  });
  while (!fs.existsSync(join(folder, 'there'))) await sleep(5);
  await untouched(t, other, stores, 'points-busy');
  fs.rmSync(join(folder, 'there'));
  await first;
});
