// Points of a real QEMU whose guest stores in a known order: each point is of one moment, and goes on from there.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { counterOf, momentOf } from '../../bench/index.js';
import { check, list, take } from '../../snapshot/index.js';
import {
  createMachineEmitter,
  listMachine,
  listPoints,
  type PointOptions,
  removePoints,
  restorePoint,
  resumePoint,
  takePoint,
} from '../../vm/index.js';
import { withCloneDisk } from '../tools/clone-disk.js';
import { tempDir } from '../tools/files.js';
import { checkClean } from '../tools/qemu.js';
import { memoryIn, type TinyMachine, tinyMachine } from './machine.js';

t.setTimeout(120_000);

const statusOf = (machine: TinyMachine) =>
  machine.ask(async (qmp) => ({
    ...(await qmp.execute('query-status')),
    ...(await qmp.execute('query-migrate-parameters')),
    on: (await qmp.execute('query-migrate-capabilities'))
      .filter(({ state }) => state)
      .map(({ capability }) => capability),
  }));

const storesIn = (folder: string): string[] =>
  fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.qcow2'))
    .map((name) => join(folder, name));

/** Takes three points, and goes on from them in another order. */
const thereAndBack = async (t: Test, folder: string, how: Partial<PointOptions>): Promise<void> => {
  const machine = await tinyMachine(t, folder);
  const stores = join(folder, 'points');
  const before = await statusOf(machine);
  const counted: number[] = [];
  for (const tag of ['zero', 'one', 'two']) {
    await machine.counts();
    const least = counterOf(machine.memory);
    const point = await takePoint({ qmp: machine.socket, stores, tag, ...how });
    t.match(point, {
      tag,
      consistent: true,
      regions: [{ region: 'first' }, { region: 'ram' }, { region: 'second' }],
    });
    t.ok((point.pauseMs ?? 0) > 0, `${tag}: a pause of ${point.pauseMs} ms`);
    t.equal(point.regions[0]?.parent ?? 'none', ['none', 'zero', 'one'][counted.length]);
    counted.push(least);
  }
  await machine.counts();
  t.same(await statusOf(machine), before, 'the machine is as it was, and counts on');
  t.same(
    (await listPoints({ stores })).map(({ tag }) => tag),
    ['zero', 'one', 'two'],
  );
  for (const store of storesIn(stores)) {
    checkClean(store);
    t.same((await check({ store })).findings, [], store);
  }
  const end = counterOf(machine.memory);
  await machine.kill();
  for (const tag of ['zero', 'two', 'one']) {
    const to = join(folder, `again-${tag}`);
    const { qemuOptions, state } = await restorePoint({ stores, tag, to });
    t.ok(state && fs.existsSync(state));
    const memory = memoryIn(to);
    const moment = momentOf(memory);
    const least = counted[['zero', 'one', 'two'].indexOf(tag)] as number;
    t.ok(moment >= least && moment <= end, `${tag}: all of it is of the moment ${moment}`);
    const again = await tinyMachine(t, folder, {
      name: tag,
      memory,
      incoming: true,
      // What the point knows, in place of what this test says.
      change: (words) => [
        ...words.slice(0, 7),
        ...qemuOptions,
        '-accel',
        'tcg',
        ...words.slice(-4, -2),
      ],
    });
    const resumed = await resumePoint({ qmp: again.socket, stores, tag });
    t.match(resumed, { tag, status: 'running' });
    await again.counts();
    t.ok(counterOf(memory) > moment, 'it counts on');
    await again.kill();
    t.ok(momentOf(memory) > moment, 'in all places');
  }
};

t.test('three points from clones, restored in another order, go on', (t) =>
  withCloneDisk(t, { name: 'XFS', type: 'xfs' }, ({ folder }) =>
    thereAndBack(t, folder, { dirty: 'reflink' }),
  ),
);

t.test('three points that are read while the machine stands still go on', (t) =>
  thereAndBack(t, tempDir(t), { freeze: 'pause' }),
);

t.test('a machine is described, with what would not be consistent', async (t) => {
  const folder = tempDir(t);
  const disk = join(folder, 'disk.img');
  fs.writeFileSync(disk, Buffer.alloc(65_536));
  const machine = await tinyMachine(t, folder, {
    extra: [
      '-object',
      'memory-backend-ram,id=spare,size=1M',
      '-drive',
      `file=${disk},format=raw,if=ide,id=root`,
    ],
    change: (words) => words.map((word) => word.replace(/(id=second,.*)share=on/, '$1share=off')),
  });
  const seen = await listMachine({ qmp: machine.socket, stores: '/backup' });
  t.match(seen, {
    status: 'running',
    running: true,
    pid: machine.pid,
    processors: 1,
    memory: { bytes: 16 * 2 ** 20, slots: 2, backend: 'ram' },
    regions: [
      {
        id: 'first',
        kind: 'nvdimm',
        share: true,
        takeable: true,
        device: 'nv-first',
        guestAddress: 2 ** 32,
        store: '/backup/memory/first.qcow2',
        file: { path: machine.memory.first, state: 'mapped', bytes: 32 * 2 ** 20 },
      },
      { id: 'ram', kind: 'ram', device: null, guestAddress: null },
      { id: 'second', kind: 'nvdimm', share: false, takeable: false },
      { id: 'spare', kind: 'other', backend: 'memory-backend-ram', file: null },
    ],
  });
  t.match(seen.warnings.join('\n'), /NVDIMM second is mapped privately \(share=off\)/);
  t.match(seen.warnings.join('\n'), /disk root \(.*disk\.img\) can be written to/);
  const stores = join(folder, 'points');
  await t.rejects(takePoint({ qmp: machine.socket, stores, freeze: 'pause' }), {
    code: 'vm-unsuitable',
    message: /mapped privately/,
  });
  fs.renameSync(machine.memory.first, `${machine.memory.first}.old`);
  t.match(
    (await listMachine({ qmp: machine.socket })).warnings.join(),
    /first\.img .* does not exist any more/,
  );
  fs.copyFileSync(`${machine.memory.first}.old`, machine.memory.first);
  t.match((await listMachine({ qmp: machine.socket })).warnings.join(), /it was replaced/);
  t.notOk(fs.existsSync(stores), 'nothing was begun');
});

t.test(
  'NVDIMMs alone, a command in the pause, a machine that stands still, and no pause at all',
  async (t) => {
    const folder = tempDir(t);
    const machine = await tinyMachine(t, folder);
    const stores = join(folder, 'points');
    const log = join(folder, 'log');
    const whilePaused = `od -An -tu4 -j32768 -N4 ${machine.memory.ram} > ${log}; sleep 0.2; od -An -tu4 -j32768 -N4 ${machine.memory.ram} >> ${log}`;
    const base = { qmp: machine.socket, stores, state: 'none', freeze: 'pause' } as const;
    const still = await takePoint({ ...base, tag: 'still', whilePaused });
    t.equal(still.state, null);
    t.same(
      still.regions.map(({ region }) => region),
      ['first', 'second'],
    );
    const [one, other] = fs.readFileSync(log, 'utf8').trim().split(/\s+/);
    t.equal(one, other, 'nothing is counted during the command');
    await t.rejects(takePoint({ ...base, tag: 'bad', whilePaused: 'exit 3' }), {
      code: 'hook-failed',
      message: /\(exit 3\) ended with exit code 3/,
    });
    await machine.counts();
    const events = createMachineEmitter();
    const notices: string[] = [];
    events.on('notice', (sentence) => notices.push(sentence));
    t.match(await takePoint({ ...base, tag: 'ran', freeze: 'none', events }), {
      consistent: false,
      pauseMs: null,
    });
    t.match(notices, [/runs on: what is taken is not of one moment/]);
    await machine.ask((qmp) => qmp.execute('stop'));
    t.match(await takePoint({ ...base, tag: 'paused', state: 'device' }), {
      pauseMs: null,
      consistent: true,
    });
    t.match(await statusOf(machine), { running: false }, 'it is left as it was');
    await t.rejects(takePoint({ ...base, tag: 'again', state: 'device' }), {
      message: /since its state was last saved/,
    });
    await machine.ask((qmp) => qmp.execute('cont'));
    await machine.counts();
    t.same(
      (await listPoints({ stores })).map(({ tag }) => tag),
      ['still', 'ran', 'paused'],
    );
    await t.rejects(takePoint({ ...base, tag: 'ran' }), { code: 'point-taken' });
    const own = { image: machine.memory.first, store: join(stores, 'memory', 'first.qcow2') };
    await take({ ...own, tag: 'mine' });
    await t.rejects(takePoint({ ...base, tag: 'mine' }), { code: 'tag-taken' });
    t.ok(
      (await list(own)).some(({ tag }) => tag === 'mine'),
      'what is no part of a point stays',
    );
    await t.rejects(resumePoint({ qmp: machine.socket, stores, tag: 'still' }), {
      code: 'vm-differs',
      message: /has no device state/,
    });
    t.same(await removePoints({ stores, tags: ['still', 'paused'] }), { kept: ['ran'] });
    for (const store of storesIn(stores)) checkClean(store);
    await t.rejects(restorePoint({ stores, tag: 'still', to: join(folder, 'x') }), {
      code: 'point-unknown',
    });
    await t.rejects(restorePoint({ stores, tag: 'ran', inPlace: true }), {
      message: /qemu-system-x86\) has .* open/,
    });
    await machine.kill();
    const { images } = await restorePoint({ stores, tag: 'ran', inPlace: true });
    t.same(
      images.map(({ region }) => region),
      ['first', 'second'],
    );
  },
);
