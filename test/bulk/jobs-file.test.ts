// Jobs files: what is right becomes a plan, what is wrong is named with its line and column.

import fs from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { readJobs } from '../../bulk/index.js';
import { Fault } from '../../disk/index.js';
import { tempDir } from '../tools/files.js';

const write = (folder: string, text: string | Buffer, name = 'jobs.yaml'): string => {
  const path = join(folder, name);
  fs.writeFileSync(path, text);
  return path;
};

const faultOf = (path: string): Fault => {
  try {
    readJobs(path);
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error(`nothing is wrong with ${path}`);
};

const ONE = '\njobs:\n  - {image: a, store: b}\n';

/** What is wrong: the text, the place, and what is said of it and advised. */
const WRONG: ReadonlyArray<readonly [string, string, RegExp, RegExp?]> = [
  ['', '1:1', /the file must be a map with jobs, not null/],
  ['jobs: []', '1:7', /"jobs" must be a list with at least one job/],
  ['jobs: 3', '1:7', /"jobs" must be a list of jobs, not 3/],
  ['[1, 2]', '1:1', /the file must be a map with jobs/],
  ['memory: 1G', '1:1', /"jobs" is missing/],
  ['jobs:\n  - image: a', '2:5', /"store" is missing/, /must be the path of a file/],
  ['jobs:\n  - {image: a, store: b}\n  - 7', '3:5', /entry 2 of "jobs" must be a map .*, not 7/],
  ['jobs:\n  - image: 5\n    store: b', '2:12', /"image" must be the path of .*, not 5/, /quotes/],
  ['jobs:\n  - image: "-"\n    store: b', '2:12', /"image" must be the path of .*, not "-"/],
  ['jobs:\n  - image: a\n    store:', '3:11', /"store" must be the path of a file, not null/],
  [
    'jobs:\n  - image: a\n    store: b\n    compresion: zstd',
    '4:5',
    /there is no key "compresion" in entry 1 of "jobs"/,
    /Perhaps "compression" is meant/,
  ],
  [`cluster-size: 64K${ONE}`, '1:1', /no key "cluster-size" at the top/, /"clusterSize" is meant/],
  [`what: 64K${ONE}`, '1:1', /there is no key "what"/, /^The keys here are memory, /],
  [
    'jobs:\n  - {image: a, store: b, memory: 1G}',
    '2:26',
    /no key "memory" in entry 1/,
    /belongs to the top of the file/,
  ],
  [`compression: zsdt${ONE}`, '1:14', /must be one of zstd, zlib, lz4, none, not "zsdt"/],
  [`clusterSize: 65000${ONE}`, '1:14', /must be a power of 2 from 4K to 2M, not 65000/],
  [`dirty: bitmap${ONE}`, '1:8', /must be a dirty source: scan; bitmap:FILE.*, not "bitmap"/],
  [`dirty: btimap${ONE}`, '1:8', /dirty source "btimap" is not known/, /bitmap:FILE/],
  [`dirty: ./no.js${ONE}`, '1:8', /dirty source \.\/no\.js .* no such module/],
  [`stages: ./no.js${ONE}`, '1:9', /"stages" must be a list of stages, not "\.\/no\.js"/],
  [`stages: [a, b@before:x]${ONE}`, '1:13', /entry 2 of "stages" must be a stage: MODULE/],
  [`stages: [5]${ONE}`, '1:10', /entry 1 of "stages" must be a stage: .*, not 5/],
  [`stages: [./no.js]${ONE}`, '1:10', /stage \.\/no\.js .* no such module/, /"nvsnap stages"/],
  [
    'jobs:\n  - image: a\n    store: b\n    stages:\n      - {module: a, option: {}}',
    '5:21',
    /no key "option" in entry 1 of "stages"/,
    /Perhaps "options" is meant/,
  ],
  [
    'jobs:\n  - {image: a, store: b, stages: [{module: a, at: above}]}',
    '2:35',
    /entry 1 of "stages" must be a stage: .* not \{"module":"a","at":"above"\}/,
  ],
  [`audit: 101${ONE}`, '1:8', /must be a share in percent, 0 for none, not 101/],
  [`clusterSize: 4M${ONE}`, '1:14', /must be a power of 2 from 4K to 2M, not "4M"/],
  [`memory: lots${ONE}`, '1:9', /must be a size of at least 1M, as 256M or 1G, not "lots"/],
  [`concurrency: 0${ONE}`, '1:14', /must be a whole number from 1 to 64, not 0/],
  [`concurrency: 1.5${ONE}`, '1:14', /must be a whole number from 1 to 64, not 1.5/],
  [`level: .nan${ONE}`, '1:8', /"level" must be a whole number .*, not NaN/],
  [`level: .inf${ONE}`, '1:8', /"level" must be a whole number/],
  [`otherImage: yes${ONE}`, '1:13', /"otherImage" must be true or false, not "yes"/],
  [
    'jobs:\n  - {image: a, store: b, tag: 2026}',
    '2:31',
    /"tag" must be a tag .*, not 2026/,
    /quotes/,
  ],
  ['jobs:\n  - {image: a, store: b, tag: latest}', '2:31', /"tag" must be a tag .*, not "latest"/],
  [
    'jobs:\n  - {image: a, store: b, group: db}\ngroups:\n  web: {before: x}',
    '2:33',
    /there is no group "db"/,
    /The groups are: "web"/,
  ],
  [
    'jobs:\n  - {image: a, store: b, group: db}',
    '2:33',
    /there is no group "db"/,
    /below "groups"/,
  ],
  [
    `groups: {g: {before: x, befor: y}}${ONE}`,
    '1:25',
    /no key "befor" in "g"/,
    /"before" is meant/,
  ],
  [`groups: {g: {timeout: 10}}${ONE}`, '1:23', /"timeout" must be a time of 1s to 20d.*, not 10/],
  [`watch: {}${ONE}`, '1:8', /"every" is missing/],
  [`watch: {every: 0s}${ONE}`, '1:16', /"every" must be a time/],
  [`watch: {every: 15m, keep: {last: 0}}${ONE}`, '1:27', /"keep" has no rule/],
  [`watch: {every: 15m, keep: {dayly: 7}}${ONE}`, '1:28', /no key "dayly"/, /"daily" is meant/],
  [
    'jobs:\n  - {image: a, store: b}\n  - {image: c, store: ./b}',
    '3:23',
    /"a" and "c" have the same store/,
  ],
  [
    'jobs:\n  - {image: a, store: b, name: x}\n  - {image: c, store: d, name: x}',
    '3:32',
    /"x" is also the name of job 1/,
  ],
  [
    'jobs:\n  - {image: a, store: b}\n  - {image: b, store: c}',
    '3:13',
    /the image of "b" is the store of "a"/,
  ],
  ['jobs:\n  - image: a\n    image: b', '3:5', /no YAML: Map keys must be unique/],
  ['jobs:\n\t- image: a', '2:1', /no YAML/],
  ['jobs: [', '1:8', /no YAML/],
  ['{"jobs": [{"image": "a",\n "store": 3}]}', '2:11', /"store" must be the path of a file, not 3/],
  ['a: 1\n---\nb: 2', '2:1', /no YAML/],
  ['['.repeat(40_000), '1:', /no YAML|nested too deep/],
  ['&a [*a]', '1:4', /the file must be a map with jobs, not what holds itself/],
  ['jobs: &a\n  - *a', '2:5', /entry 1 of "jobs" must be a map .*, not what holds itself/],
  [`stages: &a [[*a]]${ONE}`, '1:13', /entry 1 of "stages" must be .*, not what holds itself/],
  [`level: &a {b: {c: *a}}${ONE}`, '1:11', /"level" must be .*, not what holds itself/],
  ['x: &x [1]\n<<: *x', '1:1', /there is no key "x"/],
];

t.test('what is wrong is named with its place', async (t) => {
  const folder = tempDir(t);
  for (const [text, place, says, advises] of WRONG) {
    const path = write(folder, text);
    const { code, exitCode, message, advice } = faultOf(path);
    const name = JSON.stringify(text.slice(0, 60));
    t.equal(code, 'jobs-invalid', name);
    t.equal(exitCode, 2);
    t.ok(
      message.startsWith(`${path}:${place}${place.endsWith(':') ? '' : ': '}`),
      `${name}: ${message}`,
    );
    t.match(message, says, name);
    t.match(message, /^[^\n]*\.$/, 'one sentence');
    t.match(advice, /^[^\n]*\.$/, 'and advice');
    if (advises) t.match(advice, advises, name);
  }
});

t.test('the first of many mistakes in the order of the file, and how many follow', async (t) => {
  const path = write(tempDir(t), 'jobs:\n  - {image: a, stoer: b}\nlevel: x\nmemory: 0\n');
  const { message, advice, details } = faultOf(path);
  t.match(message, /:2:16: there is no key "stoer"/, 'which is also the reason why one is missing');
  t.match(advice, /2 more mistakes follow, the next in line 3\.$/);
  t.match(details, { line: 2, column: 16, others: [/^3:8: /, /^4:9: /] });
});

t.test('a file that cannot be read is not a file with mistakes', async (t) => {
  const folder = tempDir(t);
  const refused = (path: string, reason: RegExp) =>
    t.match(faultOf(path), { code: 'jobs-unreadable', exitCode: 2, details: { reason } });
  refused(join(folder, 'none'), /does not exist/);
  refused(folder, /not a regular file/);
  refused(write(folder, Buffer.from([0xff, 0xfe, 0x41])), /not UTF-8/);
  refused(write(folder, Buffer.alloc(2 ** 21, ' ')), /larger than/);
  // Each alias stands for ten of the one before: a billion values from two hundred bytes.
  const lines = Array.from(
    { length: 9 },
    (_, i) => `x${i + 1}: &x${i + 1} [${`*x${i}, `.repeat(10)}]`,
  );
  const bomb = write(folder, `x0: &x0 [a]\n${lines.join('\n')}\n`);
  t.match(faultOf(bomb), { code: 'jobs-invalid' });
});

const GOOD = `memory: 1G
level: 3
jobs:
  - &one {image: vm.img, store: stores/a, group: db}
  - {name: third, image: c, store: c.qcow2, tag: x, parent: none}
groups: {db: {before: 'true', timeout: 5s}}
watch: {every: 15m, keep: {last: 3, daily: 7}}
`;

/** Pieces that mean something in YAML, or to a careless reader of it. */
const PIECES = [
  ...['&a ', '*one', '*a', '<<: ', '? ', '- ', ': ', '[', ']', '{', '}', '"', "'", '|\n', '>', '#'],
  ...['\n', '\t', '  ', '---\n', '...', '!!set ', '!!binary ', '!x ', 'null', '~', '.nan', '.inf'],
  ...[
    '1e400',
    '-0',
    '0x1F',
    '__proto__: ',
    'constructor: ',
    'jobs: ',
    '\u0000',
    '\ud800',
    '\u2028',
  ],
];

t.test('whatever a file holds, it is a plan or a mistake with a place', async (t) => {
  const folder = tempDir(t);
  const edit = fc.record({
    at: fc.nat(GOOD.length),
    drop: fc.nat(6),
    piece: fc.oneof(fc.constantFrom(...PIECES), fc.string({ maxLength: 4 })),
  });
  let plans = 0;
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 4 }), (edits) => {
      const text = edits.reduce(
        (old, { at, drop, piece }) => old.slice(0, at) + piece + old.slice(at + drop),
        GOOD,
      );
      const path = write(folder, text);
      try {
        readJobs(path);
        plans += 1;
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        const { line, column } = error.details as { line: number; column: number };
        const lines = text.split('\n').length;
        return line >= 1 && line <= lines && column >= 1 && /^[^\n]+\.$/.test(error.message);
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.ok(plans > 0, `${plans} of 500 are plans`);
});

const checkPlan = (t: Test, name: string, text: string): void => {
  const folder = tempDir(t);
  const plan = readJobs(write(folder, text, name));
  t.equal(plan.folder, folder);
  t.match(plan, {
    memory: 2 ** 30,
    concurrency: 2,
    threads: 3,
    watch: { everyMs: 15 * 60_000, keep: { last: 3, daily: 7 } },
    groups: [{ name: 'db', before: 'true', after: undefined, timeoutMs: 5000 }],
  });
  t.match(plan.jobs, [
    {
      name: 'vm.img',
      image: join(folder, 'vm.img'),
      store: join(folder, 'stores/a'),
      group: 'db',
      tag: undefined,
      options: {
        compression: 'zlib',
        clusterSize: 16384,
        level: 3,
        parent: undefined,
        dirty: { spec: 'bitmap:dirty.bits,page=64K', folder },
        audit: 5,
      },
    },
    {
      name: 'vm.img-2',
      image: '/b/vm.img',
      options: { compression: 'none', level: 3, dirty: { spec: 'reflink', folder } },
    },
    { name: 'third', tag: 'x', group: undefined, options: { otherImage: true, parent: 'none' } },
  ]);
};

t.test('YAML and JSON give the same plan, with defaults and absolute paths', async (t) => {
  checkPlan(
    t,
    'jobs.yaml',
    `# defaults
memory: 1G
concurrency: 2
threads: 3
compression: zlib
clusterSize: 16K
level: 3
dirty: reflink
jobs:
  - image: vm.img
    store: stores/a
    group: db
    dirty: bitmap:dirty.bits,page=64K
    audit: 5
  - {image: /b/vm.img, store: stores/b, compression: none}
  - {name: third, image: c, store: c.qcow2, tag: x, otherImage: true, parent: none}
groups:
  db: {before: 'true', timeout: 5s}
  unused: {}
watch:
  every: 15m
  keep: {last: 3, daily: 7}
`,
  );
  const json = {
    memory: '1G',
    concurrency: 2,
    threads: 3,
    compression: 'zlib',
    clusterSize: 16384,
    level: 3,
    dirty: 'reflink',
    jobs: [
      {
        image: 'vm.img',
        store: 'stores/a',
        group: 'db',
        dirty: 'bitmap:dirty.bits,page=64K',
        audit: 5,
      },
      { image: '/b/vm.img', store: 'stores/b', compression: 'none' },
      { name: 'third', image: 'c', store: 'c.qcow2', tag: 'x', otherImage: true, parent: 'none' },
    ],
    groups: { db: { before: 'true', timeout: '5s' } },
    watch: { every: '15m', keep: { last: 3, daily: 7 } },
  };
  checkPlan(t, 'jobs.json', JSON.stringify(json, null, 2));
});

t.test('stages of a job, or of all that name none', async (t) => {
  const folder = tempDir(t);
  for (const name of ['a.js', 'b.js', 'c.js']) fs.writeFileSync(join(folder, name), '');
  const { jobs } = readJobs(
    write(
      folder,
      `stages: ['./a.js@before:dedup,key=x=y', ./b.js]
dirty: ./c.js,list=c
jobs:
  - {image: a, store: a.qcow2}
  - {image: b, store: b.qcow2, stages: [], dirty: scan}
  - image: c
    store: c.qcow2
    stages:
      - {module: ./b.js, options: {level: 3}, at: after:pad, threads: 1}
`,
    ),
  );
  const b = { module: './b.js', options: {}, at: undefined, folder };
  t.match(
    jobs.map(({ options: { stages, dirty } }) => ({ stages, dirty })),
    [
      {
        stages: [{ module: './a.js', options: { key: 'x=y' }, at: 'before:dedup', folder }, b],
        dirty: { spec: './c.js,list=c', folder },
      },
      { stages: [], dirty: { spec: 'scan' } },
      { stages: [{ ...b, options: { level: 3 }, at: 'before:compress', threads: 1 }] },
    ],
  );
  t.equal(jobs[1]?.options.stages?.length, 0);
});

t.test('one store under two names is one store', async (t) => {
  const folder = tempDir(t);
  fs.mkdirSync(join(folder, 'real'));
  fs.symlinkSync(join(folder, 'real'), join(folder, 'link'));
  const text = 'jobs:\n  - {image: a, store: real/s}\n  - {image: b, store: link/s}\n';
  t.match(faultOf(write(folder, text)).message, /:3:23: .* have the same store/, 'one to be made');
  fs.writeFileSync(join(folder, 'real/s'), '');
  fs.symlinkSync('s', join(folder, 'real/other'));
  const linked = 'jobs:\n  - {image: a, store: real/s}\n  - {image: b, store: link/other}\n';
  t.match(faultOf(write(folder, linked)).message, /:3:23: .* have the same store/, 'one that is');
  fs.linkSync(join(folder, 'real/s'), join(folder, 'hard'));
  const hard = 'jobs:\n  - {image: a, store: real/s}\n  - {image: b, store: hard}\n';
  t.match(faultOf(write(folder, hard)).message, /:3:23: .* have the same store/, 'a hard link');
  const image = 'jobs:\n  - {image: a, store: real/s}\n  - {image: hard, store: b}\n';
  t.match(faultOf(write(folder, image)).message, /:3:13: the image of "hard" is the store of "a"/);
});
