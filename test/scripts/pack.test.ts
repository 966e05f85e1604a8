// What npm would publish, installed in a project of its own: the command runs, and the library is
// typed. Dependencies are borrowed from this tree, so that nothing is downloaded.

import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';

const house = fileURLToPath(new URL('../../..', import.meta.url));

const run = (cwd: string, command: string, args: readonly string[]): string => {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (done.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: ${done.stdout}${done.stderr}`);
  return done.stdout;
};

/** What the benchmark needs comes with it. */
const INLINED = new Set(['tinybench', '@observablehq']);

/** A project with the packed nvsnap in node_modules. */
const install = (t: Test): { project: string; files: readonly string[] } => {
  const project = mkdtempSync(join(tmpdir(), 'nvsnap-pack-'));
  t.teardown(() => rmSync(project, { recursive: true }));
  // The tree is built already, and building again would pull it from under the other tests.
  const packed = JSON.parse(
    run(house, 'npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project]),
  ) as [{ filename: string; files: { path: string }[] }];
  const modules = join(project, 'node_modules');
  mkdirSync(join(modules, 'nvsnap'), { recursive: true });
  run(project, 'tar', [
    '-xzf',
    packed[0].filename,
    '-C',
    join(modules, 'nvsnap'),
    '--strip-components=1',
  ]);
  for (const name of readdirSync(join(house, 'node_modules'))) {
    if (name.startsWith('.') || INLINED.has(name)) continue;
    symlinkSync(join(house, 'node_modules', name), join(modules, name));
  }
  writeFileSync(join(project, 'package.json'), '{"type":"module","private":true}');
  return { project, files: packed[0].files.map(({ path }) => path) };
};

const CONSUMER = `import { createEmitter, Fault, type Progress, restore, take, type TakeResult } from 'nvsnap';
import { type BulkResult, readJobs, runBulk } from 'nvsnap/bulk';
import { stage } from 'nvsnap/stage';

const events = createEmitter();
events.on('progress', (progress: Progress) => void progress.doneBytes.toFixed());
export const nothing = stage({ name: 'nothing', open: () => ({}) });
const taken: TakeResult = await take({ image: 'image', store: 'store.qcow2', tag: 'first', events });
await restore({ store: 'store.qcow2', snapshot: taken.tag, output: 'restored' });
try {
  await take({ image: 'image', store: 'store.qcow2', tag: 'first' });
} catch (error) {
  if (error instanceof Fault) console.log(error.code);
}
const all: BulkResult = await runBulk(readJobs('jobs.json'));
if (all.taken !== 1) throw new Error(JSON.stringify(all.jobs));
`;

t.test('the package works when installed elsewhere', async (t) => {
  const { project, files } = install(t);
  t.ok(files.includes('dist/run/nvsnap.js'), 'the command is in it');
  t.ok(files.includes('README.md') && files.includes('LICENSE'), 'and what a reader needs');
  t.same(
    files.filter((path) => /^dist\/(test|bench|scripts)\//.test(path)),
    [],
    'but no tests',
  );

  writeFileSync(join(project, 'image'), Buffer.alloc(300_000, 'nvdimm '));
  const jobs = [{ image: 'image', store: 'bulk.qcow2' }];
  writeFileSync(join(project, 'jobs.json'), JSON.stringify({ jobs }));
  writeFileSync(join(project, 'main.ts'), CONSUMER);
  const compiler = ['--strict', '--module', 'NodeNext', '--target', 'ES2023', '--types', 'node'];
  run(project, process.execPath, ['node_modules/typescript/bin/tsc', ...compiler, 'main.ts']);
  t.equal(run(project, process.execPath, ['main.js']).trim(), 'tag-taken', 'the library runs');
  run(project, 'cmp', ['image', 'restored']);

  const bin = join('node_modules', 'nvsnap', 'dist', 'run', 'nvsnap.js');
  const listed = JSON.parse(run(project, process.execPath, [bin, 'list', 'store.qcow2', '--json']));
  t.match(listed, [{ id: '1', tag: 'first', imageBytes: 300_000 }], 'the command runs');

  const words = ['--only', 'tables,hops,zlib', '--size', '1M', '--rounds', '1', '--kernel-ms', '1'];
  const bench = [bin, 'bench', ...words, '--dir', project, '--html', 'report.html', '--json'];
  const { results } = JSON.parse(run(project, process.execPath, bench)) as { results: unknown[] };
  t.equal(results.length, 4, 'the benchmark runs');
  t.match(
    readFileSync(join(project, 'report.html'), 'utf8'),
    /<script>/,
    'and its report is there',
  );
  t.ok(files.includes('dist/run/report-page.LICENSE'), 'with the licences of what draws it');
});
