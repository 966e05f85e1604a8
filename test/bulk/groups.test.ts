// Groups: the images are of one moment. Their hooks are real commands that change the images, so that what was
// read when can be seen in the snapshots.

import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createBulkEmitter, exitCodeOf, readJobs, runBulk } from '../../bulk/index.js';
import { KiB, MiB } from '../../disk/index.js';
import { list, restore } from '../../snapshot/index.js';
import { withCloneDisk } from '../tools/clone-disk.js';
import { tempDir } from '../tools/files.js';
import { Images, writeJobs } from '../tools/jobs.js';
import { startNvsnap } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

t.setTimeout(120_000);

/** A command that writes a word over the beginning and the end of each image, and into a log. */
const stamp = (images: Images, word: string, size: number): string =>
  [
    `echo ${word} >> log`,
    ...images.names.flatMap((name) =>
      [0, size - word.length].map(
        (at) => `printf ${word} | dd of=${name} bs=1 seek=${at} conv=notrunc status=none`,
      ),
    ),
  ].join('\n');

const logOf = ({ folder }: Images): string[] => {
  const path = join(folder, 'log');
  return fs.existsSync(path) ? fs.readFileSync(path, 'utf8').trim().split('\n') : [];
};

t.test('every image of a group is read between its two commands', async (t) => {
  const size = 5 * MiB;
  const images = new Images(tempDir(t), [size, size, size, size]);
  const [a, b, c, d] = images.jobs({ tag: 'one' });
  const jobs = [
    { ...a, group: 'late' },
    { ...b, group: 'both' },
    { ...c, group: 'both' },
    { ...d, group: 'both' },
  ];
  const groups = {
    both: { before: stamp(images, 'still', size), after: stamp(images, 'moves', size) },
    late: {
      before: stamp(images, 'again', size),
      after: 'echo "$NVSNAP_HOOK $NVSNAP_GROUP" >> log; echo words',
    },
  };
  const plan = readJobs(writeJobs(images.folder, { concurrency: 2, groups, jobs }));
  const r = await runBulk(plan);
  t.equal(exitCodeOf(r), 0);
  t.same(logOf(images), ['still', 'moves', 'again', 'after late'], 'one group after another');
  t.match(r.hooks, [
    { group: 'both', hook: 'before', error: null },
    { group: 'both', hook: 'after', error: null },
    { group: 'late', hook: 'before', error: null },
    { group: 'late', hook: 'after', error: null },
  ]);
  for (const [i, name] of images.names.entries()) {
    const output = join(images.folder, 'out');
    await restore({ store: images.store(name), snapshot: 'one', output, force: true });
    const bytes = fs.readFileSync(output, 'latin1');
    const word = i === 0 ? 'again' : 'still';
    t.equal(bytes.slice(0, 5) + bytes.slice(-5), word + word, `${name} is of its moment`);
  }
});

t.test('images that are cloned may change as soon as all clones are there', (t) =>
  withCloneDisk(t, { name: 'XFS', type: 'xfs' }, async ({ folder }) => {
    const size = 8 * MiB;
    const images = new Images(folder, [size, size, size, size]);
    const jobs = images.jobs({ tag: 'one', group: 'all', dirty: 'reflink' });
    const groups = {
      all: { before: stamp(images, 'still', size), after: stamp(images, 'moves', size) },
    };
    const order: string[] = [];
    const events = createBulkEmitter();
    events.on('hook', ({ hook }) => order.push(hook));
    events.on('ended', ({ name }) => order.push(name));
    const plan = readJobs(writeJobs(images.folder, { concurrency: 1, groups, jobs }));
    t.equal(exitCodeOf(await runBulk(plan, { events })), 0);
    t.same(new Set(order.slice(1)), new Set(['after', ...images.names]));
    t.ok(order.at(-1) !== 'after', 'it is not waited until all are read', { order });
    for (const name of images.names) {
      const output = join(folder, 'out');
      await restore({ store: images.store(name), snapshot: 'one', output, force: true });
      const bytes = fs.readFileSync(output, 'latin1');
      t.equal(bytes.slice(0, 5) + bytes.slice(-5), 'stillstill', `${name} is of its moment`);
      t.equal(fs.readFileSync(images.image(name), 'latin1').slice(0, 5), 'moves');
    }
  }),
);

t.test('without its first command no image is read, and the second one runs', async (t) => {
  const images = new Images(tempDir(t), [MiB, MiB, MiB]);
  const [a, b, c] = images.jobs();
  const hooks = { before: 'echo before >> log; exit 3', after: 'echo after >> log' };
  const slow = {
    before: 'echo slow >> log; sleep 60',
    after: 'echo slow-after >> log',
    timeout: '1s',
  };
  const groups = { g: hooks, slow };
  const jobs = [{ ...a, group: 'g' }, b, { ...c, group: 'slow' }];
  const r = await runBulk(readJobs(writeJobs(images.folder, { groups, jobs })));
  t.match(r.jobs, [
    {
      status: 'failed',
      error: {
        code: 'before-failed',
        message:
          'The command before the group "g" (echo before >> log; exit 3) ended with exit code 3.',
      },
    },
    { status: 'taken' },
    { status: 'failed', error: { message: /took longer than 1 s\.$/ } },
  ]);
  t.same(logOf(images), ['before', 'after', 'slow', 'slow-after']);
  t.equal(exitCodeOf(r), 1);
  t.notOk(fs.existsSync(images.store('image-0')));
});

t.test('an image that fails holds nobody up, and a failed last command is told of', async (t) => {
  const images = new Images(tempDir(t), [MiB, MiB]);
  const [a, b] = images.jobs();
  const jobs = [
    { ...a, image: 'none', group: 'g' },
    { ...b, group: 'g' },
  ];
  const groups = { g: { after: 'echo after >> log; kill -9 $$' } };
  const r = await runBulk(readJobs(writeJobs(images.folder, { groups, jobs })));
  t.match(r.jobs, [{ status: 'failed', error: { code: 'image-missing' } }, { status: 'taken' }]);
  t.match(r.hooks, [
    { hook: 'after', error: { code: 'after-failed', message: /was ended by SIGKILL\.$/ } },
  ]);
  t.same(logOf(images), ['after']);
  const only = await runBulk(readJobs(writeJobs(images.folder, { groups, jobs: jobs.slice(1) })));
  t.equal(only.taken, 1, 'the snapshot counts');
  t.equal(exitCodeOf(only), 1, 'and yet something is wrong');
});

const until = async (is: () => boolean): Promise<void> => {
  while (!is()) await sleep(5);
};

t.test('whatever signal ends the run, the last command runs to its end', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const images = new Images(tempDir(t), [48 * MiB, MiB]);
    const groups = {
      g: { before: 'echo before >> log', after: 'echo after >> log; sleep 0.3; echo end >> log' },
    };
    const jobs = images.jobs({ group: 'g' });
    const first = writeJobs(images.folder, { concurrency: 1, level: 19, groups, jobs });
    const { child, ended } = startNvsnap(['take', '--jobs', first, '--json'], { detached: true });
    const pid = child.pid as number;
    await until(() => fs.existsSync(images.store('image-0')));
    // As a terminal does: to all processes of the job, twice, and again while the command is at work.
    process.kill(-pid, signal);
    process.kill(-pid, signal);
    await until(() => logOf(images).includes('after') || child.exitCode !== null);
    if (child.exitCode === null) process.kill(-pid, signal);
    const { status, stdout } = await ended;
    t.same(logOf(images), ['before', 'after', 'end'], signal);
    t.equal(status, 1);
    const message = `Stopped by ${signal}.`;
    t.match(JSON.parse(stdout), { taken: 0, notDone: 2, jobs: [{ error: { message } }] });
    t.notOk(fs.existsSync(images.store('image-0')), 'nothing is left of it');
  }
});

t.test('a signal during the first command ends that, and the last one runs', async (t) => {
  const images = new Images(tempDir(t), [MiB]);
  const groups = { g: { before: 'echo before >> log; sleep 60', after: 'echo after >> log' } };
  const path = writeJobs(images.folder, { groups, jobs: images.jobs({ group: 'g' }) });
  const { child, ended } = startNvsnap(['take', '--jobs', path]);
  await until(() => logOf(images).length > 0);
  child.kill('SIGTERM');
  t.match(await ended, { status: 1, stdout: /not done: Stopped by SIGTERM/ });
  t.same(logOf(images), ['before', 'after']);
});

t.test('images of a group that have stores already depend on what is there', async (t) => {
  const images = new Images(tempDir(t), [MiB, 300 * KiB]);
  const groups = { g: {} };
  const path = writeJobs(images.folder, { groups, jobs: images.jobs({ group: 'g' }) });
  await runBulk(readJobs(path));
  images.change();
  const r = await runBulk(readJobs(path));
  t.match(r, { taken: 2, hooks: [] });
  for (const name of images.names) {
    checkClean(images.store(name));
    t.equal((await list({ store: images.store(name) })).length, 2);
  }
});
