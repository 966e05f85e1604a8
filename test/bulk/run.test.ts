// Bulk runs: what some jobs suffer, the others do not; and the summary says so.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createBulkEmitter, exitCodeOf, readJobs, runBulk } from '../../bulk/index.js';
import { KiB, lockWriter, MiB } from '../../disk/index.js';
import { Fault, list, restore } from '../../snapshot/index.js';
import { sameFile, tempDir, withFd } from '../tools/files.js';
import { Images, writeJobs } from '../tools/jobs.js';
import { smallDisk } from '../tools/mount.js';
import { nvsnap } from '../tools/nvsnap.js';
import { checkClean, convertSnapshot } from '../tools/qemu.js';

t.setTimeout(120_000);

const SIZES = [3 * MiB, 40 * KiB, 9 * MiB, MiB + 123, 0, 700 * KiB];

t.test('all jobs are done, each as by itself', async (t) => {
  const images = new Images(tempDir(t), SIZES);
  const path = writeJobs(images.folder, { compression: 'zlib', jobs: images.jobs({ tag: 'one' }) });
  const events = createBulkEmitter();
  const ended: string[] = [];
  const seen = new Set<string>();
  let last: unknown;
  events.on('ended', ({ name }) => ended.push(name));
  events.on('job', (name) => seen.add(name));
  events.on('progress', (progress) => (last = progress));
  const r = await runBulk(readJobs(path), { events });
  t.equal(exitCodeOf(r), 0);
  t.match(r, { taken: SIZES.length, failed: 0, notDone: 0, hooks: [] });
  t.equal(
    r.imageBytes,
    SIZES.reduce((sum, size) => sum + size, 0),
  );
  t.same(
    r.jobs.map(({ name }) => name),
    images.names,
    'in the order of the file',
  );
  t.same(ended.toSorted(), images.names);
  t.same([...seen].toSorted(), images.names, 'each has told of its progress');
  const jobs = SIZES.length;
  t.match(last, {
    doneBytes: r.imageBytes,
    totalBytes: r.imageBytes,
    endedJobs: jobs,
    jobs,
    running: [],
  });

  images.change();
  fs.writeFileSync(
    join(images.folder, 'jobs.yaml'),
    JSON.stringify({ jobs: images.jobs({ tag: 'two' }) }),
  );
  const second = await runBulk(readJobs(path));
  t.equal(second.taken, SIZES.length);
  for (const [i, name] of images.names.entries()) {
    const store = images.store(name);
    checkClean(store);
    t.match(await list({ store }), [{ tag: 'one' }, { tag: 'two', parent: 'one' }]);
    const output = join(images.folder, 'out');
    await restore({ store, snapshot: 'two', output, force: true });
    t.ok(sameFile(output, images.image(name)), name);
    convertSnapshot(store, 'two', output);
    fs.truncateSync(output, SIZES[i]);
    t.ok(sameFile(output, images.image(name)), `${name}, says qemu-img`);
  }
});

t.test('an image that is not there, a full disk and a locked store among good ones', async (t) => {
  const folder = tempDir(t);
  const images = new Images(folder, [MiB, 2 * MiB, 12 * MiB, MiB, 3 * MiB, MiB, MiB]);
  const disk = smallDisk(t, folder, 6 * MiB);
  const [missing, unsuitable, full, locked, , damaged] = images.names as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  await runBulk(readJobs(writeJobs(folder, { jobs: images.jobs({ tag: 'one' }) })));
  fs.rmSync(images.image(missing));
  fs.rmSync(images.image(unsuitable));
  fs.mkdirSync(images.image(unsuitable));
  fs.writeFileSync(
    images.store(damaged),
    fs.readFileSync(images.store(damaged)).fill(0x7f, 64, 72),
  );
  for (const name of images.names.slice(3)) fs.appendFileSync(images.image(name), 'changed');
  const before = fs.readFileSync(images.store(locked));
  const jobs = images
    .jobs()
    .map((job) =>
      job.name === full && disk !== undefined ? { ...job, store: join(disk, 'store') } : job,
    );
  const path = writeJobs(folder, { concurrency: 3, jobs });
  const r = await withFd(images.store(locked), 'r+', async (fd) => {
    lockWriter(images.store(locked), fd);
    return await nvsnap(['take', '--jobs', path, '--json']);
  });
  const result = JSON.parse(r.stdout) as { jobs: Array<Record<string, unknown>> };
  const failed = (code: string) => ({
    status: 'failed',
    error: { code, message: String, advice: String },
  });
  t.match(result.jobs, [
    failed('image-missing'),
    failed('image-unsuitable'),
    disk === undefined ? { status: 'taken' } : failed('disk-full'),
    { ...failed('store-locked'), error: { message: new RegExp(`by process ${process.pid} `) } },
    { status: 'taken', result: { parent: 'one' } },
    { status: 'failed', error: { exitCode: Number } },
    { status: 'taken', result: { parent: 'one' } },
  ]);
  t.match(result, { taken: disk === undefined ? 3 : 2, notDone: 0 });
  t.equal(r.status, 3, 'one of them is damaged');
  t.equal(
    r.stderr.match(/^nvsnap: image-\d: [^\n]+\.\n[^\n]+\.$/gm)?.length,
    disk === undefined ? 4 : 5,
  );
  t.ok(before.equals(fs.readFileSync(images.store(locked))));
  if (disk !== undefined) t.same(fs.readdirSync(disk), []);
  for (const name of images.names.filter((name) => name !== damaged))
    checkClean(images.store(name));
});

t.test('the summary is a table, a sentence for what failed, and an exit code', async (t) => {
  const images = new Images(tempDir(t), [MiB, MiB]);
  const path = writeJobs(images.folder, {
    jobs: [...images.jobs({ tag: 'one' }), { name: 'gone', image: 'none', store: 's' }],
  });
  const r = await nvsnap(['take', '--jobs', path]);
  t.equal(r.status, 1);
  t.equal(r.stderr, '');
  const lines = r.stdout.trimEnd().split('\n');
  t.match(lines, [
    /^JOB +SNAPSHOT +CHANGED +STORED +TIME$/,
    /^image-0 +one +16 +1\.00 MiB +\d/,
    /^image-1 +one +16 +1\.00 MiB +\d/,
    /^gone +- .*failed: The image .*none does not exist\. Check the path\.$/,
    /^Took 2 of 3 snapshots: 2\.00 MiB in .* stored; 1 failed\.$/,
  ]);
  const quiet = await nvsnap(['take', '--jobs', path, '-q']);
  t.match(quiet, { status: 1, stdout: '' });
  t.match(
    quiet.stderr,
    /^nvsnap: image-0: .* already has a snapshot tagged "one"\.\n/,
    'nothing but errors',
  );
  const shown = await nvsnap(['take', '--jobs', path, '--progress=json']);
  const events = shown.stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { verb?: string });
  t.ok(
    events.some(({ verb }) => verb === 'jobs'),
    'the whole run tells of its progress',
  );
});

t.test('calls that make no sense are refused', async (t) => {
  const images = new Images(tempDir(t), [MiB]);
  const path = writeJobs(images.folder, { jobs: images.jobs() });
  const refused = async (says: RegExp, ...args: string[]) => {
    const r = await nvsnap(args);
    t.match(r, { status: 2, stdout: '', stderr: says }, args.join(' '));
    t.match(r.stderr, /^nvsnap: [^\n]*\.\n[^\n]*\.\n$/);
  };
  await refused(
    /An image does not go with --jobs/,
    'take',
    images.image('image-0'),
    '--jobs',
    path,
  );
  await refused(/--tag does not go with --jobs/, 'take', '--jobs', path, '--tag', 'x');
  await refused(/--cluster-size does not/, 'take', '--jobs', path, '--cluster-size', '4K');
  await refused(/--parent does not go/, 'take', '--jobs', path, '--parent', 'none');
  await refused(/required argument 'store'/, 'take', 'image');
  await refused(/required argument 'image'/, 'take');
  await refused(/jobs file .* does not exist/, 'take', '--jobs', join(images.folder, 'none'));
  await refused(/does not say when/, 'watch', path);
  t.notOk(fs.existsSync(images.store('image-0')));
});

t.test('a run that is cancelled leaves the rest, and says so', async (t) => {
  const images = new Images(tempDir(t), [4 * MiB, 4 * MiB, 4 * MiB, 4 * MiB]);
  const plan = readJobs(writeJobs(images.folder, { concurrency: 1, jobs: images.jobs() }));
  const control = new AbortController();
  const events = createBulkEmitter();
  events.on('ended', ({ name }) => {
    if (name === 'image-1')
      control.abort(new Fault({ code: 'cancelled', details: { by: 'a test' } }));
  });
  const r = await runBulk(plan, { events, signal: control.signal });
  t.match(
    r.jobs.map(({ status }) => status),
    ['taken', 'taken', 'not-done', 'not-done'],
  );
  t.match(r, { taken: 2, failed: 0, notDone: 2 });
  t.match(r.jobs[3], { error: { code: 'cancelled', message: 'Stopped by a test.' } });
  t.equal(exitCodeOf(r), 1);
  t.notOk(fs.existsSync(images.store('image-2')));
});

t.test('what is too little memory for all is each take’s own failure', async (t) => {
  const images = new Images(tempDir(t), [20 * MiB, 20 * MiB]);
  const jobs = images.jobs({ clusterSize: '2M' });
  const plan = readJobs(writeJobs(images.folder, { memory: '4M', jobs }));
  const r = await runBulk(plan);
  t.match(r.jobs, [
    { error: { code: 'memory-too-small' } },
    { error: { code: 'memory-too-small' } },
  ]);
  t.equal(exitCodeOf(r), 1);
});
