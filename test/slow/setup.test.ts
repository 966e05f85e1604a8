import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { compileQuickly } from '../tools/native.js';

const house = fileURLToPath(new URL('../../..', import.meta.url));

/** The smallest command line: it says where it runs and what it was given. */
const ECHO = 'console.log(JSON.stringify([process.cwd(), ...process.argv.slice(2)]));\n';

/** What the bundle is made of, besides the command line and the stages. */
const DOORS = [
  'bulk/index.ts',
  'dirty/source.ts',
  'examine/index.ts',
  'examine/watched.ts',
  'snapshot/index.ts',
  'pipeline/index.ts',
  'pipeline/work.ts',
  'stages/plug/resolve.ts',
  'bench/pipeline/pass.ts',
  'bench/pipeline/fused.ts',
  'bench/commands/mapper.ts',
  'bench/measure/limit-thread.ts',
  'bench/scale/read-data.ts',
  'bench/report/page.ts',
  'vm/index.ts',
  'vm/watchdog.ts',
];

/**
 * A clone with one source file and borrowed packages. Its stamp says that they are installed, so
 * that no test installs anything.
 */
function makeClone(t: Test): string {
  const clone = realpathSync(mkdtempSync(join(tmpdir(), 'nvsnap-setup-')));
  t.teardown(() => rmSync(clone, { recursive: true }));
  const rooms = DOORS.map((file) => dirname(file));
  for (const folder of [
    ...rooms,
    'disk/native',
    'stages',
    'scripts',
    'cli',
    'node_modules/@types',
  ]) {
    mkdirSync(join(clone, folder), { recursive: true });
  }
  for (const file of [
    'scripts/setup',
    'scripts/nvsnap',
    'scripts/bundle.ts',
    'scripts/load.ts',
    'scripts/record.ts',
    'package-lock.json',
    'tsconfig.json',
    'binding.gyp',
    'disk/native.ts',
    ...readdirSync(join(house, 'disk/native')).map((file) => join('disk/native', file)),
  ]) {
    copyFileSync(join(house, file), join(clone, file));
  }
  for (const name of [
    'typescript',
    'esbuild',
    '@esbuild',
    'commander',
    '@types/node',
    'xxhash-addon',
  ]) {
    symlinkSync(join(house, 'node_modules', name), join(clone, 'node_modules', name));
  }
  compileQuickly(clone);
  const digest = createHash('sha256').update(readFileSync(join(clone, 'package-lock.json')));
  writeFileSync(join(clone, 'node_modules/.nvsnap-stamp'), `${digest.digest('hex')}\n`);
  writeFileSync(
    join(clone, 'package.json'),
    '{ "type": "module", "scripts": { "install": "node-gyp rebuild" }, "dependencies": { "commander": "*" } }\n',
  );
  writeFileSync(join(clone, 'cli/main.ts'), ECHO);
  for (const file of DOORS) writeFileSync(join(clone, file), 'export {};\n');
  return clone;
}

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[] = [], cwd = '/'): Outcome {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

t.setTimeout(180_000);

// One clone for all: to compile it anew costs most of the time.
const clone = makeClone(t);

t.test('nvsnap runs from any folder and through a symlink', async (t) => {
  const elsewhere = join(clone, 'else where');
  const link = join(elsewhere, 'link');
  mkdirSync(elsewhere);
  symlinkSync('../scripts/nvsnap', link);

  const first = run(link, ['take', 'a b', ''], elsewhere);
  t.equal(first.code, 0, first.stderr);
  t.same(JSON.parse(first.stdout), [elsewhere, 'take', 'a b', '']);
  t.match(first.stderr, /compiling/);

  const second = run(join(clone, 'scripts/nvsnap'));
  t.same(JSON.parse(second.stdout), ['/']);
  t.equal(second.stderr, '', 'nothing is built twice');
});

t.test('setup follows what is written in C', async (t) => {
  const setup = join(clone, 'scripts/setup');
  const source = join(clone, 'disk/native/system.c');
  const text = readFileSync(source, 'utf8');
  const typeOf = (name: string): string =>
    run(process.execPath, ['-p', `typeof require('${clone}/build/Release/nvsnap.node').${name}`])
      .stdout;
  t.equal(typeOf('SYS_lseek'), 'number\n');

  writeFileSync(source, 'this is no C\n');
  t.match(run(setup), { code: 1, stdout: '', stderr: /error:.*'npm run' failed/s });
  t.match(run(setup), { code: 1, stdout: '' }, 'a failure is not forgotten');

  writeFileSync(source, text.replace('{"SYS_lseek"', '{"SYS_seek"'));
  t.match(run(setup), { code: 0, stdout: '', stderr: /compiling what is written in C/ });
  t.same([typeOf('SYS_lseek'), typeOf('SYS_seek')], ['undefined\n', 'number\n']);
  t.same(run(setup), { code: 0, stdout: '', stderr: '' }, 'once');
});

t.test('setup follows the sources, and never writes to stdout', async (t) => {
  const setup = join(clone, 'scripts/setup');
  const extra = join(clone, 'cli/extra.ts');
  const compiled = join(clone, 'dist/cli/extra.js');

  writeFileSync(extra, 'export const extra = 1;\n');
  t.match(run(setup), { code: 0, stdout: '' });
  t.ok(existsSync(compiled));

  rmSync(extra);
  t.match(run(setup), { code: 0, stdout: '' });
  t.notOk(existsSync(compiled), 'what lost its source is gone');
  t.same(run(setup), { code: 0, stdout: '', stderr: '' });

  writeFileSync(extra, "export const extra: number = 'one';\n");
  t.match(run(setup), { code: 1, stdout: '', stderr: /do not compile/ });
  t.match(run(setup), { code: 1, stdout: '' }, 'a failure is not forgotten');
});
