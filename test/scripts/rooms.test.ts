import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import {
  checkRooms,
  MAX_LINES,
  type Report,
  readSources,
  sentence,
  type Violation,
} from '../../scripts/rooms.js';

type Tree = Readonly<Record<string, string>>;

/** Writes the tree into a temporary folder and checks it from there, as the program does. */
function check(t: Test, tree: Tree): Report {
  const root = mkdtempSync(join(tmpdir(), 'nvsnap-rooms-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(tree)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return checkRooms(readSources(root));
}

const kinds = (violations: readonly Violation[]): string[] => violations.map((one) => one.kind);

/** A tree with one room's door and one importing file; returns the kinds of violation found. */
function kindsFor(t: Test, from: string, text: string): string[] {
  const doors = { 'disk/index.ts': '', 'qcow2/index.ts': '', 'snapshot/index.ts': '' };
  return kinds(check(t, { ...doors, [from]: text }).violations);
}

t.test('imports that go down through doors hold', async (t) => {
  const report = check(t, {
    'disk/index.ts': "export * from './units.js';\n",
    'disk/units.ts': "import { readSync } from 'node:fs';\nexport const a = readSync;\n",
    'qcow2/words/header.ts': "import { a } from '../../disk/index.js';\nexport const b = a;\n",
    'qcow2/index.ts': "export * from './words/header.js';\n",
    'snapshot/index.ts': "import '../qcow2/index.js';\nimport '../disk/index.js';\n",
    'cli/main.ts': "import '../snapshot/index.js';\n",
    'bench/index.ts': "import '../qcow2/index.js';\n",
    'scripts/tool.ts': "import '../disk/units.js';\n",
    'test/disk/units.test.ts': "import '../../disk/units.js';\nimport '../../cli/index.js';\n",
    'test/door.test.ts': "import 'nvsnap';\n",
    'node_modules/disk/up.ts': "import '../../cli/index.js';\n",
    'dist/disk/units.d.ts': "import '../../cli/index.js';\n",
  });
  t.same(report.violations, []);
  t.equal(report.files, 10);
  t.equal(report.imports, 11);
  t.equal(report.medianLines, 1);
});

t.test('an upward import is caught in every form TypeScript has for it', async (t) => {
  const forms = [
    "import { x } from '../snapshot/index.js';",
    "import '../snapshot/index.js';",
    "import type { X } from '../snapshot/index.js';",
    "import { type X } from '../snapshot/index.js';",
    "import x = require('../snapshot/index.js');",
    "export * from '../snapshot/index.js';",
    "export { x } from '../snapshot/index.js';",
    "export type { X } from '../snapshot/index.js';",
    "export type * as X from '../snapshot/index.js';",
    "const x = await import('../snapshot/index.js');",
    'const x = await import(`../snapshot/index.js`);',
    "const x = require('../snapshot/index.js');",
    "let x: import('../snapshot/index.js').X;",
    "let x: typeof import('../snapshot/index.js');",
  ];
  for (const form of forms) t.same(kindsFor(t, 'qcow2/reader.ts', form), ['not-down'], form);
});

t.test('what only looks like an import is left alone', async (t) => {
  const looks = [
    "// import '../snapshot/index.js';",
    "/** {@link import('../snapshot/index.js')} */",
    'const text = "import \'../snapshot/index.js\'";',
    "const worker = new URL('../snapshot/index.js', import.meta.url);",
    'const x = await import(name);',
    "import 'nvsnap-other';",
  ];
  for (const look of looks) t.same(kindsFor(t, 'qcow2/reader.ts', look), [], look);
});

t.test('an example has the package by its name, as its users have', async (t) => {
  t.same(kindsFor(t, 'examples/a.js', "import 'nvsnap/stage';\nimport './b.js';\n"), []);
  t.same(kindsFor(t, 'examples/a.js', "import '../disk/index.js';"), ['by-path']);
  t.same(kindsFor(t, 'cli/a.ts', "import '../examples/a.js';"), ['not-down']);
  t.same(kindsFor(t, 'test/examples/a.test.ts', "import '../../examples/a.js';"), []);
  t.same(kindsFor(t, 'disk/a.js', "import '../cli/index.js';"), []);
  const [violation] = check(t, { 'examples/a.js': "import '../disk/index.js';" }).violations;
  t.match(
    violation && sentence(violation),
    /by its path, which no user can: import 'nvsnap\/stage'/,
  );
});

t.test('rooms on one floor do not see each other, and no room sees tests or scripts', async (t) => {
  t.same(kindsFor(t, 'dirty/a.ts', "import '../qcow2/index.js';"), ['not-down']);
  t.same(kindsFor(t, 'cli/a.ts', "import '../qcow2/index.js';"), ['not-down']);
  t.same(kindsFor(t, 'bench/a.ts', "import '../cli/index.js';"), ['not-down']);
  t.same(kindsFor(t, 'snapshot/a.ts', "import '../bench/index.js';"), ['not-down']);
  t.same(kindsFor(t, 'disk/a.ts', "import '../test/index.js';"), ['not-down']);
  t.same(kindsFor(t, 'snapshot/a.ts', "import '../scripts/rooms.js';"), ['not-down']);
});

t.test('a side door is caught', async (t) => {
  t.same(kindsFor(t, 'qcow2/a.ts', "import '../disk/units.js';"), ['side-door']);
  t.same(kindsFor(t, 'qcow2/a.ts', "import '../qcow2/../disk/index.js';"), ['side-door']);
  t.same(kindsFor(t, 'bench/a.ts', "import '../disk/units.js';"), ['side-door']);
  t.same(kindsFor(t, 'test/a.test.ts', "import '../disk/units.js';"), ['side-door']);
  t.same(kindsFor(t, 'test/qcow2/a.test.ts', "import '../../disk/units.js';"), ['side-door']);
});

t.test('imports that leave the rooms are caught', async (t) => {
  t.same(kindsFor(t, 'cli/a.ts', "import x from '../package.json';"), ['outside']);
  t.same(kindsFor(t, 'cli/a.ts', "import '../../elsewhere/index.js';"), ['outside']);
  t.same(kindsFor(t, 'cli/a.ts', "import '/etc/a.js';"), ['outside']);
  t.same(kindsFor(t, 'stages/a.ts', "import 'nvsnap/stage';"), ['by-name']);
});

t.test('a file outside the known rooms is caught', async (t) => {
  t.same(check(t, { 'utils/a.ts': '', 'loose.ts': '' }).violations, [
    { kind: 'no-room', path: 'loose.ts' },
    { kind: 'no-room', path: 'utils/a.ts' },
  ]);
});

t.test('a cycle within a room is caught once, with its path', async (t) => {
  const report = check(t, {
    'disk/a.ts': "import './b.js';",
    'disk/b.ts': "import type { C } from './c.js';",
    'disk/c.ts': "import './a.js';",
    'disk/index.ts': "export * from './a.js';",
  });
  t.same(report.violations, [
    { kind: 'cycle', path: ['disk/a.ts', 'disk/b.ts', 'disk/c.ts', 'disk/a.ts'] },
  ]);
  t.same(kindsFor(t, 'disk/self.ts', "import './self.js';"), ['cycle']);
});

t.test('a file is too long only above the limit, and tests may be long', async (t) => {
  const lines = (count: number): string => '//\n'.repeat(count);
  const report = check(t, {
    'disk/full.ts': lines(MAX_LINES),
    'disk/over.ts': lines(MAX_LINES + 1),
    'test/disk/over.test.ts': lines(MAX_LINES + 1),
  });
  t.same(report.violations, [{ kind: 'too-long', path: 'disk/over.ts', lines: MAX_LINES + 1 }]);
  t.equal(report.medianLines, MAX_LINES);
});

t.test('each violation is said in one sentence that names the file', async (t) => {
  const { violations } = check(t, {
    'utils/a.ts': '',
    'disk/a.ts': "import './a.js';\nimport '../cli/index.js';\nimport '../a.json';\n",
    'disk/long.ts': '//\n'.repeat(MAX_LINES + 1),
    'qcow2/deep/a.ts': "import '../../disk/a.js';\nimport 'nvsnap';\n",
  });
  const all = violations.map(sentence);
  t.equal(new Set(kinds(violations)).size, 7, 'every kind occurs');
  for (const one of all) t.match(one, /^\S+\.ts .+\.$/);
  t.ok(all.some((one) => one.includes("import '../../disk/index.js' instead")));
});
