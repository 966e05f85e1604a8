// The command is loaded with what V8 compiled of it when it was built: V8 takes it, it is not believed when it has
// changed, and what it was compiled of counts more.

import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Random, tempDir } from '../tools/files.js';
import { start } from '../tools/nvsnap.js';

t.setTimeout(180_000);

const HOUSE = fileURLToPath(new URL('../../..', import.meta.url));

/** Says on standard error what V8 thinks of what it is given. */
const HOOK = `
const vm = require('node:vm');
const { basename } = require('node:path');
const { Script } = vm;
vm.Script = class extends Script {
  constructor(source, options) {
    super(source, options);
    const what = !options.cachedData ? 'compiled' : this.cachedDataRejected ? 'refused' : 'kept';
    process._rawDebug(what, basename(options.filename));
  }
};
`;

/** A copy of what was built, to be damaged. */
const makeCopy = (t: Test) => {
  const home = tempDir(t);
  fs.mkdirSync(join(home, 'dist'));
  fs.cpSync(join(HOUSE, 'dist/run'), join(home, 'dist/run'), { recursive: true });
  fs.copyFileSync(join(HOUSE, 'package.json'), join(home, 'package.json'));
  for (const name of ['node_modules', 'build']) {
    fs.symlinkSync(join(HOUSE, name), join(home, name));
  }
  const hook = join(home, 'hook.cjs');
  fs.writeFileSync(hook, HOOK);
  const run = join(home, 'dist/run');
  /** What becomes of each file, by its name. */
  const call = async (...words: string[]) => {
    const program = ['--no-warnings', '-r', hook, join(run, 'nvsnap.js'), ...words];
    const { status, stdout, stderr } = await start(process.execPath, program).ended;
    const fates: Record<string, string> = {};
    for (const line of stderr.split('\n')) {
      const [, fate, file] = /^(compiled|refused|kept) (\S+)$/.exec(line) ?? [];
      if (fate !== undefined && file !== undefined) fates[file] = fate;
    }
    return { status, stdout, stderr, fates };
  };
  return { run, kept: (file: string) => join(run, 'compiled', `${file}.bin`), call };
};

const counts = (fates: Record<string, string>): Record<string, number> => {
  const found: Record<string, number> = { kept: 0, compiled: 0, refused: 0 };
  for (const fate of Object.values(fates)) found[fate] = (found[fate] ?? 0) + 1;
  return found;
};

t.test('V8 takes what it compiled', async (t) => {
  const { call } = makeCopy(t);
  const help = await call('list', '--help');
  t.match(help, { status: 0, stdout: /Usage: nvsnap list/ });
  t.match(counts(help.fates), { compiled: 0, refused: 0 });
  t.ok((counts(help.fates).kept ?? 0) > 3, 'and that is what the command consists of');
});

t.test('what has changed is compiled anew', async (t) => {
  const { call, kept } = makeCopy(t);
  const first = await call('--version');
  const program = Object.keys(first.fates).find((file) => file.startsWith('program-')) as string;
  const good = fs.readFileSync(kept(program));
  const random = new Random(1);
  const damage: [string, (bytes: Buffer) => Buffer][] = [
    ['nothing is left', () => Buffer.alloc(0)],
    ['three bytes are left', (bytes) => bytes.subarray(0, 3)],
    ['the end is missing', (bytes) => bytes.subarray(0, bytes.length - 1)],
    ['a page of it is zero', (bytes) => bytes.fill(0, bytes.length - 8192, bytes.length - 4096)],
    ['something follows', (bytes) => Buffer.concat([bytes, Buffer.from('x')])],
  ];
  for (let i = 0; i < 20; i += 1) {
    const at = i < 4 ? i : random.below(good.length);
    damage.push([
      `a bit of byte ${at} is another`,
      (bytes) => {
        bytes[at] = (bytes[at] as number) ^ (1 << (i % 8));
        return bytes;
      },
    ]);
  }
  for (const [name, change] of damage) {
    fs.writeFileSync(kept(program), change(Buffer.from(good)));
    const { status, stdout, fates } = await call('--version');
    t.same({ status, stdout }, { status: 0, stdout: first.stdout }, name);
    t.equal(fates[program], 'compiled', name);
  }
  fs.rmSync(kept(program));
  t.match(await call('--version'), {
    status: 0,
    stdout: first.stdout,
    fates: { [program]: 'compiled' },
  });
});

t.test('the source counts', async (t) => {
  const { run, call } = makeCopy(t);
  const { fates } = await call('--version');
  const program = Object.keys(fates).find((file) => file.startsWith('program-')) as string;
  const path = join(run, program);
  const source = fs.readFileSync(path, 'utf8');
  fs.writeFileSync(
    path,
    source.replace('Dependent snapshots of large', 'DEPENDENT snapshots of large'),
  );
  const changed = await call('--help');
  t.match(changed, { status: 0, stdout: /DEPENDENT snapshots/, fates: { [program]: 'compiled' } });
});
