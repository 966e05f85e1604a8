// Dirty sources of users: modules and packages, under the examiner, followed by takes, and refused where they are wrong.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { examineSource, type SourceWorld } from '../../examine/index.js';
import { list, loadSource, take } from '../../snapshot/index.js';
import { patch, randomBytes, tempDir } from '../tools/files.js';
import { Judge } from '../tools/judge.js';
import { nvsnap } from '../tools/nvsnap.js';
import { Tracker } from '../tools/tracker.js';

const PAGE = 4096;
const CLUSTER = 65536;
const MiB = 2 ** 20;

const makeWorld = async (t: Test, size: number): Promise<SourceWorld> => {
  const tracker = new Tracker(tempDir(t), 'list', size);
  const { spec } = tracker;
  tracker.save();
  return {
    image: tracker.image,
    source: await loadSource(spec),
    write: (offset, bytes) => tracker.write(offset, bytes),
    beforeLine: () => tracker.save(),
    afterCommit: () => tracker.clear(),
    reopen: () => loadSource(spec),
  };
};

await examineSource(t, { name: 'dirty-list', unit: PAGE, make: (size) => makeWorld(t, size) });

t.test('a take follows a source of its own, and audits it', async (t) => {
  const folder = tempDir(t);
  const tracker = new Tracker(folder, 'list', 8 * MiB, randomBytes(8 * MiB, 3));
  const { image, spec: dirty } = tracker;
  const store = join(folder, 'store.qcow2');
  const judge = new Judge(folder, store);
  const track = async (tag: string, audit = 1) => {
    tracker.save();
    judge.remember(image, tag);
    const result = await take({ image, store, tag, dirty, audit });
    tracker.clear();
    return result.dirty;
  };
  t.match(await track('first'), { source: 'dirty-list', certainty: 'exact', fallback: null });
  tracker.write(3 * CLUSTER - 2, Buffer.from('both sides'));
  t.match(await track('named'), { fallback: null, candidateBytes: 2 * CLUSTER });
  tracker.writeUnseen(20 * CLUSTER, Buffer.from('forgotten'));
  t.match(await track('caught', 100), { fallback: /it missed changes: 1 of / });
  t.match(await track('again'), { fallback: null, candidateBytes: 0 });
  await take({ image, store, tag: 'by scan' });
  judge.remember(image, 'by scan');
  t.match(await track('between'), { fallback: 'the list counts from another snapshot' });
  t.equal((await list({ store }))[0]?.dirty, 'dirty-list', 'the store says who named them');
  await judge.all(t);
});

/** A module of a source, of which `body` is the rest of `begin`'s answer. */
const source = (body: string): string => `export default {
  name: 'mine',
  usage: { file: 'a file' },
  open({ file }, { folder }) {
    if (file === 'bad') throw new Error('it does not like its file.');
    return {
      name: \`mine-\${file}-\${folder}\`.slice(0, 100),
      certainty: 'exact',
      async begin(image, since) {
        return { id: '', async commit() {}, async dispose() {}, ${body} };
      },
    };
  },
};
`;

const UNKNOWN = "changes: { known: false, reason: 'it never knows' }";

t.test('what is wrong with a source is said, and nothing is made', async (t) => {
  const folder = tempDir(t);
  const files = {
    'none.js': 'export const source = 1;',
    'nameless.js': 'export default { name: "No", open: () => ({}) };',
    'closed.js': 'export default { name: "closed" };',
    'empty.js': 'export default { name: "empty", open: () => ({ name: "empty" }) };',
    'mine.js': source(UNKNOWN),
    'throws.js': source('changes: since.nothing.at.all'),
    image: randomBytes(3 * CLUSTER, 1).toString('latin1'),
  };
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(join(folder, name), text);
  const store = join(folder, 'store.qcow2');
  const image = join(folder, 'image');
  const refused = async (spec: string, code: string, message: RegExp) => {
    await t.rejects(take({ image, store, dirty: { spec, folder } }), { code, message }, spec);
    t.notOk(fs.existsSync(store));
  };
  await refused('./no.js', 'usage', /source \.\/no\.js cannot be used: there is no such module/);
  await refused('./none.js', 'usage', /has no default export/);
  await refused('./nameless.js', 'usage', /its name is not of/);
  await refused('./closed.js', 'usage', /it has no open/);
  await refused('./empty.js', 'dirty-unsuitable', /open returned is no source/);
  await refused('./mine.js,what=1', 'dirty-unsuitable', /mine .* has no option "what"/);
  await refused('./mine.js,file=bad', 'dirty-unsuitable', /it does not like its file\.$/);
  await refused('./mine.js,file', 'usage', /has the option "file" without a value/);
  await refused('./throws.js', 'dirty-unsuitable', /undefined/);
  await refused('no-such-package', 'usage', /"no-such-package" is not known/);
  await refused('what:ever', 'usage', /"what:ever" is not known/);
  await refused('bitmap', 'usage', /lacks what comes after the colon/);
  await refused('bitmap:bits,since=', 'usage', /has the option "since" without a value/);
  await refused('bitmap:bits,page', 'usage', /has the option "page" without a value/);
});

t.test('ranges that make no sense are not followed', async (t) => {
  const folder = tempDir(t);
  const image = join(folder, 'image');
  const store = join(folder, 'store.qcow2');
  fs.writeFileSync(image, randomBytes(4 * CLUSTER, 1));
  const named = '[{ start: 65536, end: 65537 }, { start: 0, end: 1 }]';
  fs.writeFileSync(
    join(folder, 'mine.js'),
    source(`changes: { known: true, extents: () => ${named} }`),
  );
  const dirty = { spec: './mine.js', folder };
  await take({ image, store, dirty });
  patch(image, Buffer.from('changed'), 3 * CLUSTER);
  const next = await take({ image, store, dirty });
  t.match(next, { changedClusters: 1, dirty: { fallback: /named a range out of order/ } });
});

t.test('the command finds packages of sources, and paths count from where it runs', async (t) => {
  const folder = tempDir(t);
  const home = join(folder, 'node_modules/nvsnap-source-mine');
  fs.mkdirSync(join(home, 'lib'), { recursive: true });
  fs.writeFileSync(join(home, 'package.json'), '{"type":"module","exports":"./lib/main.js"}');
  fs.writeFileSync(join(home, 'lib/main.js'), source(UNKNOWN));
  fs.writeFileSync(join(folder, 'image'), randomBytes(CLUSTER, 1));
  const words = ['take', 'image', 'store', '--dirty', 'mine,file=a', '--json'];
  const first = await nvsnap(words, { cwd: folder });
  t.equal(first.status, 0, first.stderr);
  const second = await nvsnap(words, { cwd: folder });
  t.match(JSON.parse(second.stdout), {
    dirty: { source: `mine-a-${folder}`, fallback: 'it never knows' },
  });
  t.match(second.stderr, /The whole image is read: .* it never knows/);
});
