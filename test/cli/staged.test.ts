// The commands that read a store which was written through a stage: with it they all work, without it they say so.

import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { randomBytes, sameFile, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';

const example = fileURLToPath(new URL('../../../examples/aes-gcm.js', import.meta.url));

t.test('every command takes the stages of a store', async (t) => {
  const folder = tempDir(t);
  fs.writeFileSync(join(folder, 'key'), 'a7'.repeat(32));
  fs.writeFileSync(join(folder, 'image'), randomBytes(400_000, 1));
  const stage = ['--stage', `${example},key=key`];
  const run = async (words: readonly string[], status = 0, options = stage): Promise<string> => {
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    const ended = await nvsnap([...words, ...options], { cwd: folder, stdio: [...stdio] });
    t.equal(ended.status, status, `${words.join(' ')}: ${ended.stderr}`);
    return ended.stdout + ended.stderr;
  };
  await run(['take', 'image', 'store', '--tag', 'a']);
  fs.copyFileSync(join(folder, 'image'), join(folder, 'was'));
  fs.writeFileSync(join(folder, 'image'), 'changed', { flag: 'r+' });
  await run(['take', 'image', 'store', '--tag', 'b']);

  t.match(await run(['diff', 'store', 'a', 'b']), /differ in 64\.0 KiB|^0\+65536$/m);
  t.match(await run(['compare', 'store', 'a', 'image'], 3), /^0\+65536$/m);
  t.match(await run(['verify', 'store']), /verified/i);
  t.notMatch(await run(['check', 'store']), /not looked at/);
  await run(['restore', 'store', 'a', 'back']);
  t.ok(sameFile(join(folder, 'was'), join(folder, 'back')));
  await run(['convert', 'store', 'open', '--leave-stages']);
  t.match(await run(['info', 'open'], 0, []), /^compression: +zstd$/m);

  t.match(await run(['check', 'store'], 0, []), /digests were not looked at/);
  t.match(await run(['list', 'store'], 0, []), /^#2 +b /m);
  for (const words of [
    ['take', 'image', 'store'],
    ['diff', 'store', 'a'],
    ['compare', 'store', 'a', 'image'],
    ['verify', 'store'],
    ['restore', 'store', 'a', 'other'],
    ['convert', 'store', 'other', '--leave-stages'],
  ]) {
    const said = await run(words, 1, []);
    t.match(said, /written through the stage aes-gcm \(version 1, of aes-gcm\.js\), which was not/);
    t.match(said, /Name its module \(aes-gcm\.js\) and its options with --stage\./);
  }
  t.notOk(fs.existsSync(join(folder, 'other')));
});
