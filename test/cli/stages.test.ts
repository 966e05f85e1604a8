// nvsnap stages: what it lists and describes. What it begins for somebody is tried in the slow suite.

import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { randomBytes, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';

const house = fileURLToPath(new URL('../../..', import.meta.url));

const write = (path: string, text: string): void => {
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.writeFileSync(path, text);
};

/** Runs the command in `cwd`; it must succeed. */
const run = async (t: Test, cwd: string, ...words: string[]): Promise<string> => {
  const { status, stdout, stderr } = await nvsnap(words, { cwd });
  t.equal(status, 0, stderr);
  return stdout;
};

const refused = async (t: Test, cwd: string, words: string[], says: RegExp): Promise<void> => {
  const { status, stderr } = await nvsnap(words, { cwd });
  t.equal(status, 2);
  t.match(stderr, says);
};

/** A folder in which packages are installed. */
const shop = (t: Test): string => {
  const folder = tempDir(t);
  const install = (name: string, files: Readonly<Record<string, string>>): void => {
    for (const [file, text] of Object.entries(files)) {
      write(join(folder, 'node_modules', name, file), text);
    }
  };
  install('nvsnap-stage-upper', {
    'package.json': '{"version":"0.3.1","type":"module","exports":{"import":"./lib/upper.js"}}',
    'lib/upper.js': `export default {
      name: 'upper', version: '2', summary: 'makes capitals', usage: { only: 'these letters' },
      at: ['before:dedup'], changes: true, threads: 3, patience: 5, open: () => ({}),
    };`,
  });
  install('nvsnap-stage-broken', { 'package.json': '{"version":"1.0.0"}', 'index.js': 'export {' });
  install('nvsnap-stage-wrong', {
    'package.json': '{"type":"module"}',
    'index.js': "export default { name: 'wrong', at: 'before:dedup', open: () => ({}) };",
  });
  install('nvsnap-source-tracker', {
    'package.json': '{"version":"1.1.0","type":"module","main":"main.js"}',
    'main.js': `export default {
      name: 'tracker', summary: 'asks the tracker', usage: { socket: 'its socket' }, open() {},
    };`,
  });
  install('nvsnap', { 'package.json': 'not JSON' });
  return folder;
};

t.test('what is built in and what is installed is listed', async (t) => {
  const folder = shop(t);
  const { lines, stages, sources } = JSON.parse(await run(t, folder, 'stages', '--json'));
  const names = (line: { name: string }[]) => line.map(({ name }) => name).join(' ');
  t.equal(names(lines.take), 'scan dedup pad compress write');
  t.equal(names(lines.restore), 'fetch decode verify deliver');
  for (const { name, summary } of [...lines.take, ...lines.restore]) t.not(summary, '', name);
  t.match(stages, [
    { package: 'nvsnap-stage-broken', packageVersion: '1.0.0', found: null, problem: String },
    {
      package: 'nvsnap-stage-upper',
      packageVersion: '0.3.1',
      problem: null,
      found: {
        name: 'upper',
        version: '2',
        summary: 'makes capitals',
        kind: 'filter',
        places: ['before:dedup'],
        takes: ['plain'],
        makes: [],
        options: { only: 'these letters' },
        threads: 3,
        patience: 5,
      },
    },
    { package: 'nvsnap-stage-wrong', packageVersion: null, problem: /wants to stand where no/ },
  ]);
  t.match(sources, [{ found: { name: 'tracker', options: { socket: 'its socket' } } }]);

  const words = await run(t, folder, 'stages');
  t.match(words, /^scan +take +reads the image/m);
  t.match(words, /^upper, version 2: filter, at before:dedup; from nvsnap-stage-upper 0\.3\.1$/m);
  t.match(words, /^ {2}only= {2}these letters$/m);
  t.match(words, /^tracker: dirty source; from nvsnap-source-tracker 1\.1\.0$/m);
  t.match(await run(t, tempDir(t), 'stages'), /^No packages nvsnap-stage-… or /m);
});

t.test('one stage is described by its file or its package', async (t) => {
  const folder = shop(t);
  const upper = JSON.parse(await run(t, folder, 'stages', 'upper', '--json'));
  t.match(upper, { name: 'upper', kind: 'filter' });
  const key = await run(t, folder, 'stages', join(house, 'examples/aes-gcm.js'));
  t.match(key, /^aes-gcm, version 1: reversible, at before:write$/m);
  t.match(key, /^ {2}key= +a file that holds the key/m);
  await refused(t, folder, ['stages', './gone.js'], /there is no such module/);
  await refused(t, folder, ['stages', 'wrong'], /it wants to stand where no stage can \(a list of/);
  await refused(t, folder, ['stages', '--kind', 'filter'], /--kind goes with --new/);
  await refused(t, folder, ['stages', 'upper', '--new', 'x'], /--new describes no module/);
});

t.test('a new stage is never written over a file', async (t) => {
  const folder = tempDir(t);
  write(join(folder, 'mine.test.js'), 'precious');
  await refused(t, folder, ['stages', '--new', 'mine'], /mine\.test\.js exists already/);
  await refused(t, folder, ['stages', '--new', '../mine'], /"\.\.\/mine" cannot be the name/);
  await refused(t, folder, ['stages', '--new', 'Mine'], /"Mine" cannot be the name/);
  t.same(fs.readdirSync(folder), ['mine.test.js'], 'nothing is written');
  t.equal(fs.readFileSync(join(folder, 'mine.test.js'), 'utf8'), 'precious');
});

t.test('the first stage of the guide does what the guide says', async (t) => {
  const folder = tempDir(t);
  const guide = fs.readFileSync(join(house, 'docs/stages.md'), 'utf8');
  const [, text = ''] = /^```js\n(\/\/ words\.js\n[\s\S]*?)^```$/m.exec(guide) ?? [];
  write(join(folder, 'words.js'), text);
  const image = randomBytes(1_000_000, 1);
  image.write('guest', 70_000);
  image.write('guest', 999_995);
  fs.writeFileSync(join(folder, 'image'), image);
  const stage = ['--stage', './words.js,word=guest'];
  t.match(await run(t, folder, 'take', 'image', 'store', ...stage), /^words: clusters 2\.$/m);
  const untold = ['take', 'image', 'store', '--stage', './words.js'];
  await refused(t, folder, untold, /stage words cannot be used: it needs word=WORD\./);
  const said = await run(t, folder, 'stages', './words.js');
  t.ok(guide.includes(said), 'and is described so');
});
