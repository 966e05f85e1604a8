// What npm would publish, installed in a project of its own: the command runs, the library is typed, and stages are made
// with it, packed and installed too. Dependencies are borrowed from this tree, so that nothing is downloaded.

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
import { compileQuickly } from '../tools/native.js';

t.setTimeout(180_000);

const house = fileURLToPath(new URL('../../..', import.meta.url));

const run = (cwd: string, command: string, args: readonly string[]): string => {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (done.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: ${done.stdout}${done.stderr}`);
  return done.stdout;
};

/** Packs what is in `folder` and puts it into the node_modules of `project`; returns the names of its files. */
const packInto = (project: string, folder: string): readonly string[] => {
  // This tree is built already, and building again would pull it from under the other tests.
  const [packed] = JSON.parse(
    run(folder, 'npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project]),
  ) as [{ name: string; filename: string; files: { path: string }[] }];
  const home = join(project, 'node_modules', packed.name);
  mkdirSync(home, { recursive: true });
  run(project, 'tar', ['-xzf', packed.filename, '-C', home, '--strip-components=1']);
  return packed.files.map(({ path }) => path);
};

/** As npm does when it installs the package; Node's headers are where it is installed. */
const compileNative = (home: string): void => {
  compileQuickly(home);
  const { npm_config_nodedir = join(process.execPath, '../..'), ...env } = process.env;
  const done = spawnSync('npm', ['run', 'install'], {
    cwd: home,
    env: { ...env, npm_config_nodedir },
    encoding: 'utf8',
  });
  if (done.status !== 0) throw new Error(`npm run install: ${done.stdout}${done.stderr}`);
};

/** What the benchmark needs comes with it. */
const INLINED = new Set(['tinybench', '@observablehq']);

/** A project with the packed nvsnap in node_modules. */
const install = (t: Test): { project: string; files: readonly string[] } => {
  const project = mkdtempSync(join(tmpdir(), 'nvsnap-pack-'));
  t.teardown(() => rmSync(project, { recursive: true }));
  const files = packInto(project, house);
  const modules = join(project, 'node_modules');
  for (const name of readdirSync(join(house, 'node_modules'))) {
    if (name.startsWith('.') || INLINED.has(name)) continue;
    symlinkSync(join(house, 'node_modules', name), join(modules, name));
  }
  const bin = join(modules, 'nvsnap/dist/run/nvsnap.js');
  const early = spawnSync(process.execPath, [bin, 'list', 'store'], { encoding: 'utf8' });
  t.match(early, { status: 1, stdout: '' });
  t.match(
    early.stderr,
    /^nvsnap: [^\n]*"npm rebuild nvsnap"[^\n]*\n$/,
    'one sentence says what to do',
  );
  compileNative(join(modules, 'nvsnap'));
  writeFileSync(join(project, 'package.json'), '{"type":"module","private":true}');
  return { project, files };
};

const COMPILER = ['--strict', '--module', 'NodeNext', '--target', 'ES2023', '--types', 'node'];

/** Compiles files of the project with the types that are installed there. */
const compile = (project: string, ...files: readonly string[]): string =>
  run(project, process.execPath, ['node_modules/typescript/bin/tsc', ...COMPILER, ...files]);

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

/** A stage in JavaScript: makes capitals of some letters. */
const UPPER = `import { Kind, stage } from 'nvsnap/stage';

export default stage({
  name: 'upper',
  summary: 'makes capitals',
  usage: { letters: 'of these only' },
  at: ['before:dedup'],
  changes: true,
  parse: ({ letters = 'abcdefghijklmnopqrstuvwxyz' }) => ({ letters: String(letters) }),
  open: ({ letters }) => ({
    batch(batch) {
      for (let i = batch.nextLive(0); i < batch.count; i = batch.nextLive(i + 1)) {
        if (batch.kinds[i] !== Kind.plain) continue;
        const bytes = batch.content(i);
        for (let at = 0; at < bytes.length; at += 1) {
          if (letters.includes(String.fromCharCode(bytes[at]))) bytes[at] -= 32;
        }
      }
    },
  }),
});
`;

/** One in TypeScript: adds a number to each byte that is stored. */
const SHIFT = `import { type Desk, type Setting, type StageThread, stage } from 'nvsnap/stage';

interface Options {
  readonly by: number;
}

const add = (bytes: Buffer, into: Buffer, by: number): number => {
  for (let at = 0; at < bytes.length; at += 1) into[at] = ((bytes[at] as number) + by) & 255;
  return bytes.length;
};

export default stage<Options, number>({
  name: 'shift',
  version: '3',
  usage: { by: 'what is added' },
  parse: ({ by }, { kept }: Setting): Options => (kept as Options | null) ?? { by: Number(by) },
  reversible: { growth: 0, keeps: ({ by }) => ({ by }) },
  open({ by }, desk: Desk): StageThread<number> {
    let clusters = 0;
    return {
      encode(bytes, into) {
        if (desk.cancelled()) return 0;
        clusters += 1;
        return add(bytes, into, by);
      },
      decode: (bytes, into) => add(bytes, into, -by),
      flush: () => clusters,
    };
  },
  conclude: (parts) => ({ clusters: parts.reduce((sum, part) => sum + part, 0) }),
});
`;

const USER = `import { restore, take, use, type StageSummary } from 'nvsnap';

const stages = [use('upper', { letters: 'dim' }), use('shift', { by: 7 }, { threads: 1 })];
const taken = await take({ image: 'image', store: 'used.qcow2', stages });
const shift: StageSummary | undefined = taken.summaries.find(({ stage }) => stage === 'shift');
console.log(shift?.figures.clusters);
await restore({ store: 'used.qcow2', snapshot: taken.tag, output: 'used', stages: ['shift'] });
`;

/** Makes a package of one stage; returns its folder. */
const makePackage = (project: string, name: string, file: string, text: string): string => {
  const folder = join(project, name);
  mkdirSync(folder);
  const exported = { type: 'module', exports: './index.js', files: ['index.js'] };
  const peers = { peerDependencies: { nvsnap: '*' } };
  const all = { name, version: '1.2.3', ...exported, ...peers };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(all));
  writeFileSync(join(folder, file), text);
  return folder;
};

/** Packs and installs the stages, and uses both from the command and from a program. */
const checkStages = async (
  t: Test,
  project: string,
  packages: readonly string[],
  nvsnap: (...words: string[]) => string,
): Promise<void> => {
  for (const folder of packages) {
    t.same(packInto(project, folder).toSorted(), ['index.js', 'package.json']);
  }
  t.match(JSON.parse(nvsnap('stages', '--json')).stages, [
    { package: 'nvsnap-stage-shift', packageVersion: '1.2.3', found: { kind: 'reversible' } },
    { package: 'nvsnap-stage-upper', found: { name: 'upper', summary: 'makes capitals' } },
  ]);
  nvsnap('take', 'image', 'plugged.qcow2', '--stage', 'upper', '--stage', 'shift,by=100');
  t.match(nvsnap('info', 'plugged.qcow2'), /shift 3 \(private/);
  nvsnap('restore', 'plugged.qcow2', 'latest', 'plugged', '--stage', 'nvsnap-stage-shift');
  t.ok(readFileSync(join(project, 'plugged')).equals(Buffer.alloc(300_000, 'NVDIMM ')));

  t.match(run(project, process.execPath, ['user.js']).trim(), /^[1-9]\d*$/, 'figures are typed');
  t.ok(readFileSync(join(project, 'used')).equals(Buffer.alloc(300_000, 'nvDIMM ')));
};

t.setTimeout(120_000);

t.test('the package works when installed elsewhere', async (t) => {
  const { project, files } = install(t);
  t.ok(files.includes('dist/run/nvsnap.js'), 'the command is in it');
  t.ok(files.includes('README.md') && files.includes('LICENSE'), 'and what a reader needs');
  t.same(
    files.filter((path) => /^dist\/(test|bench|scripts)\//.test(path)),
    [],
    'but no tests',
  );

  t.ok(files.includes('docs/stages.md') && files.includes('examples/aes-gcm.js'), 'and a stage');

  writeFileSync(join(project, 'image'), Buffer.alloc(300_000, 'nvdimm '));
  const jobs = [{ image: 'image', store: 'bulk.qcow2' }];
  writeFileSync(join(project, 'jobs.json'), JSON.stringify({ jobs }));
  writeFileSync(join(project, 'main.ts'), CONSUMER);
  writeFileSync(join(project, 'user.ts'), USER);
  const upper = makePackage(project, 'nvsnap-stage-upper', 'index.js', UPPER);
  const shift = makePackage(project, 'nvsnap-stage-shift', 'index.ts', SHIFT);
  compile(project, 'main.ts', 'user.ts', join(shift, 'index.ts'));
  t.equal(run(project, process.execPath, ['main.js']).trim(), 'tag-taken', 'the library runs');
  run(project, 'cmp', ['image', 'restored']);

  const bin = join('node_modules', 'nvsnap', 'dist', 'run', 'nvsnap.js');
  const nvsnap = (...words: string[]): string => run(project, process.execPath, [bin, ...words]);
  const listed = JSON.parse(nvsnap('list', 'store.qcow2', '--json'));
  t.match(listed, [{ id: '1', tag: 'first', imageBytes: 300_000 }], 'the command runs');

  await t.test('stages are made with it, packed and used', (t) =>
    checkStages(t, project, [upper, shift], nvsnap),
  );
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
