// Stages and dirty sources of users in jobs files: modules and their files are found from the folder of the file.

import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { readJobs, runBulk } from '../../bulk/index.js';
import { restore } from '../../snapshot/index.js';
import { randomBytes, sameFile, tempDir } from '../tools/files.js';

const examples = fileURLToPath(new URL('../../../examples', import.meta.url));

t.test('jobs have stages of their own, or those of all, or none', async (t) => {
  const folder = tempDir(t);
  fs.symlinkSync(examples, join(folder, 'stages'));
  fs.writeFileSync(join(folder, 'vm.key'), '5a'.repeat(32));
  fs.writeFileSync(join(folder, 'list'), '0 1000000\n');
  fs.writeFileSync(
    join(folder, 'jobs.yaml'),
    `
stages:
  - ./stages/aes-gcm.js,key=vm.key
  - {module: ./stages/entropy.js, at: before:dedup, threads: 1}
dirty: ./stages/dirty-list.js,list=list
jobs:
  - {image: a, store: a.qcow2}
  - {image: b, store: b.qcow2, stages: [], dirty: scan}
  - {image: c, store: c.qcow2, stages: ['./stages/aes-gcm.js,command=cat vm.key'], dirty: scan}
`,
  );
  for (const name of ['a', 'b', 'c']) {
    fs.writeFileSync(join(folder, name), randomBytes(1_000_000, name.charCodeAt(0)));
  }
  const { jobs } = await runBulk(readJobs(join(folder, 'jobs.yaml')));
  const said = jobs.map((job) =>
    job.status === 'taken'
      ? [job.result.dirty.source, ...job.result.summaries.map(({ stage, at }) => `${stage} ${at}`)]
      : job.error,
  );
  t.same(said, [
    ['dirty-list', 'aes-gcm before:write', 'entropy before:dedup'],
    ['scan'],
    ['scan', 'aes-gcm before:write'],
  ]);
  const key = `${join(folder, 'stages/aes-gcm.js')},key=${join(folder, 'vm.key')}`;
  for (const [name, stages] of [
    ['a', [key]],
    ['b', []],
    ['c', [key]],
  ] as const) {
    const [store, output] = [join(folder, `${name}.qcow2`), join(folder, `${name}.back`)];
    await restore({ store, snapshot: 'latest', output, stages });
    t.ok(sameFile(join(folder, name), output), name);
    if (stages.length === 0) continue;
    await t.rejects(restore({ store, snapshot: 'latest', output: `${output}2` }), {
      code: 'stage-missing',
    });
  }
});

t.test('a stage that cannot be used fails its job alone', async (t) => {
  const folder = tempDir(t);
  fs.writeFileSync(join(folder, 'bad.js'), 'export default { name: "bad" };');
  fs.writeFileSync(
    join(folder, 'jobs.json'),
    JSON.stringify({
      jobs: [
        { image: 'image', store: 'a.qcow2', stages: ['./bad.js'] },
        { image: 'image', store: 'b.qcow2' },
      ],
    }),
  );
  fs.writeFileSync(join(folder, 'image'), randomBytes(100_000, 1));
  const { jobs } = await runBulk(readJobs(join(folder, 'jobs.json')));
  t.match(jobs, [
    { status: 'failed', error: { message: /\.\/bad\.js cannot be used: it has no open/ } },
    { status: 'taken' },
  ]);
  t.notOk(fs.existsSync(join(folder, 'a.qcow2')));
});
