// The stages that "nvsnap stages --new" writes, and their tests.

import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { randomBytes, sameFile, tempDir } from '../tools/files.js';
import { nvsnap, start } from '../tools/nvsnap.js';

t.setTimeout(180_000);

const house = fileURLToPath(new URL('../../..', import.meta.url));

/** Runs the command in `cwd`; it must succeed. */
const run = async (t: Test, cwd: string, ...words: string[]): Promise<string> => {
  const { status, stdout, stderr } = await nvsnap(words, { cwd });
  t.equal(status, 0, stderr);
  return stdout;
};

t.test('new stages work as they are, and so do their tests', async (t) => {
  const folder = tempDir(t);
  fs.writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  fs.mkdirSync(join(folder, 'node_modules'));
  fs.symlinkSync(house, join(folder, 'node_modules/nvsnap'));
  const kinds = ['observer', 'filter', 'reversible'];
  for (const kind of kinds) {
    const written = await run(t, folder, 'stages', '--new', `a-${kind}`, '--kind', kind, '--json');
    t.same(JSON.parse(written), { files: [`a-${kind}.js`, `a-${kind}.test.js`] });
  }

  fs.writeFileSync(join(folder, 'image'), randomBytes(1_000_000, 1));
  const stages = kinds.flatMap((kind) => ['--stage', `./a-${kind}.js,example=x`]);
  const taken = await run(t, folder, 'take', 'image', 'store', '--strict-stages', ...stages);
  for (const kind of kinds) t.match(taken, new RegExp(`^a-${kind}: \\w+`, 'm'), 'it has its say');
  await run(t, folder, 'restore', 'store', 'latest', 'back', '--stage', './a-reversible.js');
  t.ok(sameFile(join(folder, 'image'), join(folder, 'back')));

  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const files = kinds.map((kind) => `a-${kind}.test.js`);
  const tested = await start(process.execPath, ['--test', ...files], { cwd: folder, env }).ended;
  t.match(tested.stdout, /^# fail 0$/m, 'their tests pass');
  for (const kind of kinds) t.match(tested.stdout, `a-${kind} holds to the contract of stages`);
  t.equal(tested.status, 0);
});
