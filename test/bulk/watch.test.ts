// The watch: rounds on a schedule, one at a time, and an end at any moment.

import fs from 'node:fs';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { MiB } from '../../disk/index.js';
import { list } from '../../snapshot/index.js';
import { tempDir } from '../tools/files.js';
import { Images, writeJobs } from '../tools/jobs.js';
import { type Ended, nvsnap, type Running, startNvsnap } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

t.setTimeout(120_000);

interface Line {
  readonly type: 'job' | 'hook' | 'round' | 'refused';
  readonly round: number;
  readonly time: string;
  readonly [key: string]: unknown;
}

/** A watch under way, and its log. */
class Watch {
  readonly running: Running;
  readonly lines: Line[] = [];
  readonly #wake = new Set<() => void>();

  constructor(t: Test, path: string) {
    this.running = startNvsnap(['watch', path, '--json']);
    const { child } = this.running;
    t.teardown(() => child.kill('SIGKILL'));
    if (!child.stdout) throw new Error('it has no output');
    createInterface(child.stdout).on('line', (line) => {
      this.lines.push(JSON.parse(line) as Line);
      for (const wake of this.#wake) wake();
    });
    child.once('exit', () => {
      for (const wake of this.#wake) wake();
    });
  }

  /** Waits until the log says something. */
  async until(is: (lines: readonly Line[]) => boolean): Promise<void> {
    while (!is(this.lines)) {
      if (this.running.child.exitCode !== null) throw new Error('it has ended');
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#wake.delete(wake);
          resolve();
        };
        this.#wake.add(wake);
      });
    }
  }

  stop(signal: NodeJS.Signals): Promise<Ended> {
    this.running.child.kill(signal);
    return this.running.ended;
  }
}

const rounds = (lines: readonly Line[]): readonly Line[] =>
  lines.filter(({ type }) => type === 'round');

t.test('rounds come one after another, and old snapshots go', async (t) => {
  const images = new Images(tempDir(t), [MiB, 2 * MiB]);
  const jobs = images.jobs();
  const path = writeJobs(images.folder, { watch: { every: '1s', keep: { last: 2 } }, jobs });
  const watch = new Watch(t, path);
  await watch.until((lines) => rounds(lines).length >= 1);

  const second = await nvsnap(['watch', path]);
  t.match(second, { status: 1, stdout: '' });
  t.match(
    second.stderr,
    /^nvsnap: The jobs of .* are being watched by process \d+ \(.*\)\.\n[^\n]+\.\n$/,
  );
  t.ok(second.stderr.includes(`process ${watch.running.child.pid} `));

  await watch.until((lines) => rounds(lines).length >= 4);
  t.match(await watch.stop('SIGTERM'), { status: 0, signal: null, stderr: '' });
  const kinds = watch.lines.filter(({ type }) => type !== 'refused');
  for (const [i, line] of kinds.entries()) {
    const last = kinds[i - 1];
    t.ok(
      !last ||
        line.round === last.round ||
        (last.type === 'round' && line.round === last.round + 1),
    );
  }
  const starts = rounds(watch.lines).map(({ time }) => Math.floor(Date.parse(time) / 1000));
  t.equal(new Set(starts).size, starts.length, 'never two in one interval');
  t.match(rounds(watch.lines)[3], { taken: 2, failed: 0, notDone: 0 });
  t.match(
    watch.lines.find(({ type, round }) => type === 'job' && round === 4),
    {
      status: 'taken',
      pruned: { removed: 1 },
    },
  );
  for (const name of images.names) {
    checkClean(images.store(name));
    t.ok((await list({ store: images.store(name) })).length <= 3, 'no more than the rules keep');
  }
  t.match(
    await nvsnap(['watch', path, '--once', '--quiet']),
    { status: 0, stdout: '' },
    'the lock is gone',
  );
  for (const name of images.names) t.equal((await list({ store: images.store(name) })).length, 2);
});

t.test(
  'a round that takes longer than the interval delays the next, and none pile up',
  async (t) => {
    const images = new Images(tempDir(t), [MiB]);
    const groups = {
      g: {
        before: 'echo "$(date +%s.%N) begins" >> log; sleep 1.2',
        after: 'echo "$(date +%s.%N) ends" >> log',
      },
    };
    const path = writeJobs(images.folder, {
      watch: { every: '1s' },
      groups,
      jobs: images.jobs({ group: 'g' }),
    });
    const watch = new Watch(t, path);
    await watch.until((lines) => rounds(lines).length >= 2);
    await watch.stop('SIGINT');
    const log = fs.readFileSync(`${images.folder}/log`, 'utf8').trim().split('\n');
    t.match(log.map((line) => line.split(' ')[1]).slice(0, 4), [
      'begins',
      'ends',
      'begins',
      'ends',
    ]);
    const [first, , second] = log.map(Number.parseFloat) as [number, number, number];
    t.ok(
      Math.floor(second) - Math.floor(first) >= 2,
      'the tick that fell into the first round is left out',
    );
  },
);

t.test('a file that breaks is reported, and read again when it is whole', async (t) => {
  const images = new Images(tempDir(t), [MiB]);
  const content = { watch: { every: '1s' }, jobs: images.jobs() };
  const path = writeJobs(images.folder, content);
  const watch = new Watch(t, path);
  await watch.until((lines) => rounds(lines).length >= 1);
  writeJobs(images.folder, { watch: { every: '1s' }, jobs: 3 });
  await watch.until((lines) => lines.some(({ type }) => type === 'refused'));
  t.match(
    watch.lines.find(({ type }) => type === 'refused'),
    {
      error: { code: 'jobs-invalid', message: /"jobs" must be a list of jobs, not 3\.$/ },
    },
  );
  const before = rounds(watch.lines).length;
  // As an editor does: another file in its place.
  writeJobs(images.folder, content, 'jobs.new');
  fs.renameSync(`${images.folder}/jobs.new`, path);
  await watch.until((lines) => rounds(lines).length > before);
  t.match(await nvsnap(['watch', path, '--once']), {
    status: 1,
    stderr: /being watched by process/,
  });
  t.match(await watch.stop('SIGTERM'), { status: 0 });
});

t.test('SIGTERM during a take cancels it, and the store is as it was', async (t) => {
  const images = new Images(tempDir(t), [48 * MiB]);
  const path = writeJobs(images.folder, { watch: { every: '1h' }, level: 19, jobs: images.jobs() });
  const { child, ended } = startNvsnap(['watch', path]);
  while (!fs.existsSync(images.store('image-0'))) await new Promise((next) => setTimeout(next, 2));
  child.kill('SIGTERM');
  const { status, signal, stdout, stderr } = await ended;
  t.match({ status, signal, stderr }, { status: 0, signal: null, stderr: '' });
  t.match(stdout.trimEnd().split('\n'), [
    /^\S+Z round 1: image-0: not done: Stopped by SIGTERM\. The store is as it was before\.$/,
    /^\S+Z round 1: Took 0 of 1 snapshot: .*; 1 not done\.$/,
  ]);
  t.notOk(fs.existsSync(images.store('image-0')));
});

t.test('a kill leaves no lock, and SIGTERM between two rounds ends it at once', async (t) => {
  const images = new Images(tempDir(t), [MiB]);
  const path = writeJobs(images.folder, { watch: { every: '1h' }, jobs: images.jobs() });
  const killed = new Watch(t, path);
  await killed.until((lines) => rounds(lines).length === 1);
  t.match(await killed.stop('SIGKILL'), { signal: 'SIGKILL' });
  const next = new Watch(t, path);
  await next.until((lines) => rounds(lines).length === 1);
  t.match(await next.stop('SIGTERM'), { status: 0 });
  checkClean(images.store('image-0'));
});

t.test('one round has the exit code of a run, and a schedule is needed', async (t) => {
  const images = new Images(tempDir(t), [MiB]);
  const jobs = [...images.jobs(), { image: 'none', store: 'none.store' }];
  const path = writeJobs(images.folder, { watch: { every: '1h' }, jobs });
  const r = await nvsnap(['watch', path, '--once']);
  t.match(r, { status: 1, stderr: '' });
  t.match(r.stdout, /round 1: none: failed: The image .* does not exist\./);
  const tagged = writeJobs(images.folder, {
    watch: { every: '1h' },
    jobs: images.jobs({ tag: 'x' }),
  });
  t.match(await nvsnap(['watch', tagged, '--once']), { status: 2, stderr: /"image-0" has a tag/ });
});
