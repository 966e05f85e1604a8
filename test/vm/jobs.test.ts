// Machines among the jobs of a file: taken with the images, pruned by the same policy, and each other's failures apart.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type BulkResult, readJobs, runBulk } from '../../bulk/index.js';
import { list } from '../../snapshot/index.js';
import { listPoints, machineRunner } from '../../vm/index.js';
import { tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';
import { tinyMachine } from './machine.js';

t.setTimeout(120_000);

const write = (folder: string, value: unknown): string => {
  const path = join(folder, 'jobs.yaml');
  fs.writeFileSync(path, JSON.stringify(value));
  return path;
};

const tagsOf = async (stores: string): Promise<string[]> =>
  (await listPoints({ stores })).map(({ tag }) => tag);

t.test('machines are taken with the images of a file', async (t) => {
  const folder = tempDir(t);
  const machine = await tinyMachine(t, folder);
  fs.writeFileSync(join(folder, 'disk.img'), Buffer.alloc(300_000, 1));
  const web = {
    name: 'web',
    qmp: 'qmp.sock',
    stores: 'web',
    freeze: 'pause',
    whilePaused: 'echo "$NVSNAP_TAG" >> paused',
  };
  const gone = { qmp: 'none.sock', stores: 'gone' };
  const jobs = [{ image: 'disk.img', store: 'disk.qcow2' }];
  const file = write(folder, { jobs, machines: [{ ...web, tag: 'one' }, gone] });
  const { status, stdout, stderr } = await nvsnap(['take', '--jobs', file, '--json']);
  t.equal(status, 1);
  t.match(stderr, /gone: The machine at .*none\.sock cannot be reached: there is no such socket/);
  t.match(JSON.parse(stdout), {
    taken: 2,
    failed: 1,
    jobs: [{ name: 'disk.img', status: 'taken' }],
    machines: [
      { name: 'web', status: 'taken', result: { tag: 'one', consistent: true }, pruned: null },
      { name: 'gone', status: 'failed', error: { code: 'qmp-unreachable' } },
    ],
  });
  t.equal(fs.readFileSync(join(folder, 'paused'), 'utf8'), 'one\n', 'in the folder of the file');
  const watched = write(folder, { machines: [web], watch: { every: '1h', keep: { last: 2 } } });
  for (let round = 0; round < 2; round += 1) {
    const { stdout, status } = await nvsnap(['watch', watched, '--once']);
    t.match(stdout, /web: took point \S+: .* stored, .*, stood still for [\d.]+ ms/);
    t.equal(status, 0);
  }
  const tags = await tagsOf(join(folder, 'web'));
  t.equal(tags.length, 2);
  t.notOk(tags.includes('one'), 'the oldest is gone');
  for (const id of ['first', 'second', 'ram']) {
    const snapshots = await list({ store: join(folder, 'web', 'memory', `${id}.qcow2`) });
    t.same(snapshots.map(({ tag }) => tag).sort(), [...tags].sort());
  }
  t.same(await list({ store: join(folder, 'disk.qcow2') }).then(({ length }) => length), 1);
  await machine.counts();
});

t.test('what is wrong with a machine in a file is said with its line', async (t) => {
  const folder = tempDir(t);
  const refused: readonly [unknown, RegExp][] = [
    [{ machines: [] }, /"machines" must be a list with at least one machine/],
    [{}, /"jobs" is missing/],
    [{ machines: [{ qmp: 'q' }] }, /"stores" is missing/],
    [
      { machines: [{ qmp: 'q', stores: 's', freeze: 'now' }] },
      /"freeze" must be one of reflink, pause, none/,
    ],
    [
      { machines: [{ qmp: 'q', stores: 's', maxpause: '1s' }] },
      /no key "maxpause" in entry 1 of "machines"/,
    ],
    [
      {
        machines: [
          { qmp: 'q', stores: 's' },
          { qmp: 'r', stores: './s' },
        ],
      },
      /"s" and "s-2" have the same folder/,
    ],
    [
      {
        jobs: [{ name: 'a', image: 'i', store: 's' }],
        machines: [{ name: 'a', qmp: 'q', stores: 'd' }],
      },
      /"a" is also the name of another job or machine/,
    ],
  ];
  for (const [value, message] of refused) {
    t.throws(
      () => readJobs(write(folder, value)),
      { code: 'jobs-invalid', message },
      String(message),
    );
  }
  const tagged = write(folder, {
    machines: [{ qmp: 'q', stores: 's', tag: 'x' }],
    watch: { every: '1h' },
  });
  t.match(
    (await nvsnap(['watch', tagged, '--once'])).stderr,
    /has a tag, which can be taken only once/,
  );
  const ports = readJobs(write(folder, { machines: [{ qmp: '127.0.0.1:4444', stores: 's' }] }));
  t.match(ports.machines, [{ qmp: '127.0.0.1:4444', stores: join(folder, 's') }]);
});

t.test('a run that is stopped, and one that cannot take machines', async (t) => {
  const plan = readJobs(write(tempDir(t), { machines: [{ qmp: 'q', stores: 's' }] }));
  const stopped: BulkResult = await runBulk(plan, {
    machines: machineRunner,
    signal: AbortSignal.abort(),
  });
  t.match(stopped, {
    notDone: 1,
    machines: [{ status: 'not-done', error: { code: 'cancelled' } }],
  });
  t.match(await runBulk(plan), { failed: 1, machines: [{ error: { code: 'usage' } }] });
});
