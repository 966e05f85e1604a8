// Stages that lie where Node does not find nvsnap: in a folder of a user's, with no package above.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadStages, use } from '../../stages/index.js';
import { sameFile, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';

/** Turns every bit over; its helper is a file of its own, and it is the helper that imports nvsnap. */
const FLIP = `import { flip, declare } from './helper.js';
export default declare({
  name: 'flip',
  version: '2',
  reversible: { growth: 0 },
  open: () => ({ encode: flip, decode: flip }),
});
`;
const HELPER = `import { stage } from 'nvsnap/stage';
export const declare = stage;
export const flip = (bytes, into) => {
  for (let i = 0; i < bytes.length; i += 1) into[i] = bytes[i] ^ 255;
  return bytes.length;
};
`;

/** Says in which thread it was; nobody declares it. */
const PLAIN = `import { threadId } from 'node:worker_threads';
export default {
  name: 'plain',
  open: () => ({ batch() {}, flush: () => threadId }),
  conclude: (ids) => ({ threads: ids.filter((id) => id > 0).length }),
};
`;

const folderWith = (t: Test, files: Readonly<Record<string, string>>): string => {
  const folder = tempDir(t);
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(join(folder, name), text);
  return folder;
};

/** An image of two kinds of clusters, and the command in its folder. */
const world = (t: Test, files: Readonly<Record<string, string>>) => {
  const folder = folderWith(t, files);
  fs.writeFileSync(join(folder, 'image'), Buffer.alloc(1_000_000, 'outside '));
  const run = async (...words: string[]) => {
    const ended = await nvsnap(words, { cwd: folder });
    t.equal(ended.status, 0, ended.stderr);
    t.equal(ended.stderr, '', 'nothing is said on standard error');
    return ended.stdout;
  };
  return { folder, run };
};

t.test('the command runs stages from a folder without packages', async (t) => {
  const { folder, run } = world(t, { 'flip.js': FLIP, 'helper.js': HELPER, 'plain.js': PLAIN });
  const stages = ['--stage', './flip.js'];
  const taken = await run('take', 'image', 'store', '--stage', './plain.js', ...stages);
  t.match(taken, /^plain: threads [1-9]/m);
  t.match(taken, /^flip: bytes in [1-9]/m);
  await run('restore', 'store', 'latest', 'back', ...stages);
  t.ok(sameFile(join(folder, 'image'), join(folder, 'back')), 'what it wrote it reads again');
});

t.test('what a module imports wrongly is its own fault', async (t) => {
  const folder = folderWith(t, {
    'none.js': "import 'nvsnap/stages';\n",
    'other.js': "import 'no-such-package';\n",
    'empty.js': 'export const stage = 1;\n',
    'broken.js': 'export default {',
  });
  const refused = (file: string, problem: RegExp) =>
    t.rejects(loadStages([use(`./${file}`, {}, { folder })]), {
      code: 'usage',
      message: problem,
    });
  await refused('none.js', /'\.\/stages' is not defined/);
  await refused('other.js', /Cannot find package 'no-such-package'/);
  await refused('empty.js', /has no default export/);
  await refused('broken.js', /Unexpected end of input/);
  await refused('gone.js', /there is no such module/);
});

const TYPED = `import { type Batch, stage } from 'nvsnap/stage';
let batches: number = 0;
export default stage<unknown, number>({
  name: 'typed',
  open: () => ({ batch: (batch: Batch): void => void (batches += 1), flush: () => batches }),
  conclude: (parts) => ({ batches: parts.reduce((a, b) => a + b, 0) }),
});
`;

t.test('TypeScript runs where Node can, and is refused by name where it cannot', async (t) => {
  const { folder, run } = world(t, { 'typed.ts': TYPED });
  if ('typescript' in process.features) {
    t.match(await run('take', 'image', 'store', '--stage', './typed.ts'), /^typed: batches 1\.$/m);
    return;
  }
  const { status, stderr } = await nvsnap(['take', 'image', 'store', '--stage', './typed.ts'], {
    cwd: folder,
  });
  t.equal(status, 2);
  t.match(stderr, /^nvsnap: The stage \.\/typed\.ts cannot be used: Node \S+ does not run/);
  t.match(stderr, /Compile it to JavaScript, or use Node 22\.18/);
  t.notOk(fs.existsSync(join(folder, 'store')), 'nothing has been made');
});
