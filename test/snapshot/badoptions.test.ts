// Options, tags and words that mean nothing, or not here: refused before anything is touched.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkTag, Fault } from '../../snapshot/index.js';
import { tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';
import { judgeAll, makeTemplate, type Place, type Refusal, takes } from '../tools/refusals.js';

t.setTimeout(180_000);

const usage = (extra: readonly string[], says?: RegExp): Refusal =>
  takes(extra, { name: extra.join(' '), code: 'usage', status: 2, ...(says ? { says } : {}) });

const TAGS: readonly Refusal[] = [
  takes(['--tag', 'one'], { name: 'a tag twice', code: 'tag-taken', status: 1, says: /"one"/ }),
  ...[
    ['', 'empty'],
    ['1234', 'a number'],
    ['x'.repeat(256), 'of 256 bytes'],
    ['ü'.repeat(128), 'of 256 bytes in 128 characters'],
    ['#3', 'an id'],
    ['latest', 'a word with a meaning'],
    ['two\nlines', 'of two lines'],
  ].map(([tag, what]) =>
    takes(['--tag', tag as string], { name: `a tag ${what}`, code: 'tag-invalid', status: 2 }),
  ),
  takes(['--parent', 'nobody'], {
    name: 'an unknown parent',
    code: 'snapshot-unknown',
    status: 1,
    says: /"nobody"/,
  }),
  {
    name: 'an unknown snapshot to restore',
    args: ({ store }) => ['restore', store, 'two', 'out'],
    code: 'snapshot-unknown',
    status: 1,
  },
  {
    name: 'an unknown snapshot to describe',
    args: ({ store }) => ['info', store, '#9'],
    code: 'snapshot-unknown',
    status: 1,
  },
  {
    name: 'an output that exists',
    args: ({ store, image }) => ['restore', store, 'one', image],
    code: 'output-exists',
    status: 1,
  },
  ...[['restore', 'one'], ['convert']].map(([verb = '', ...words]) => ({
    name: `an output of ${verb} that is a link to nothing`,
    arrange: ({ folder }: Place) => fs.symlinkSync('nothing', join(folder, 'link')),
    args: ({ store, folder }: Place) => [verb, store, ...words, join(folder, 'link')],
    code: 'output-exists',
    status: 1 as const,
  })),
  {
    name: 'an output that is a directory',
    args: ({ store, folder }) => ['restore', store, 'one', folder, '--force'],
    code: 'output-unsuitable',
    status: 1,
  },
  {
    name: 'an output in a folder that does not exist',
    args: ({ store }) => ['restore', store, 'one', 'no/out'],
    code: 'output-unsuitable',
    status: 1,
  },
];

const NEW = ({ image, folder }: Place): string[] => ['take', image, join(folder, 'new')];

const OPTIONS: readonly Refusal[] = [
  usage(['--compression', 'rar'], /rar/),
  usage(['--digest', 'md5'], /md5/),
  ...['3000', '512', '4M', '0', 'x', '-64K'].map((size) => ({
    ...usage(['--cluster-size', size]),
    args: (place: Place) => [...NEW(place), '--cluster-size', size],
  })),
  ...['23', '-200000', '1.5', 'x'].map((level) => usage(['--level', level])),
  {
    ...usage(['--level', '1']),
    name: 'a level for a codec without',
    args: (place) => [...NEW(place), '--compression', 'none', '--level', '1'],
  },
  ...['0', '-1', 'x', '1.5', '257', 'scan=0', 'scan=', 'cook=1', '=1'].map((threads) =>
    usage(['--threads', threads]),
  ),
  usage(['--size', '64K'], /standard input/),
  usage(['--memory', '1K'], /memory/i),
  usage(['--memory', 'x'], /memory/i),
  takes(['--memory', '1M'], { name: '--memory 1M', code: 'memory-too-small', status: 2 }),
  usage(['--no-such-option'], /--no-such-option/),
  usage(['and', 'more'], /argument/),
  ...[
    ['cook'],
    ['take'],
    ['take', 'only-an-image'],
    ['restore', 'store', 'one'],
    ['list'],
    ['--no-such-option'],
  ].map((args) => ({
    name: `nvsnap ${args.join(' ')}`,
    args: () => args,
    code: 'usage',
    status: 2 as const,
  })),
];

for (const [what, table] of [
  ['tags, parents and outputs', TAGS],
  ['options and words', OPTIONS],
] as const) {
  t.test(`refused: ${what}`, async (t) => {
    const folder = tempDir(t);
    await judgeAll(t, folder, await makeTemplate(folder), table);
  });
}

t.test('a tag that no bytes can be written for is refused, in a jobs file too', async (t) => {
  const refused = (tag: string): string | undefined => {
    try {
      checkTag(undefined, tag);
      return undefined;
    } catch (error) {
      return error instanceof Fault ? error.code : String(error);
    }
  };
  for (const tag of ['x\ud800', '\udc00x', '\udc00\ud800', 'x\u009b', 'x\u0000', '\u007f']) {
    t.equal(refused(tag), 'tag-invalid', JSON.stringify(tag));
  }
  for (const tag of ['x\ud83d\ude00', '\ufffd', 'ü', 'two words'])
    t.equal(refused(tag), undefined, tag);
  const folder = tempDir(t);
  fs.writeFileSync(join(folder, 'image'), 'something');
  const jobs = join(folder, 'jobs.json');
  const line = '{"jobs":[{"image":"image","store":"store.qcow2","tag":"x\\ud800"}]}';
  fs.writeFileSync(jobs, line);
  const { status, stderr } = await nvsnap(['take', '--jobs', jobs]);
  t.equal(status, 2, stderr);
  t.notOk(fs.existsSync(join(folder, 'store.qcow2')));
});
