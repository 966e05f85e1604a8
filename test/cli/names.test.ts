// Names in a store, which anybody may have written: they do nothing to the terminal that they are shown on.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { harmless, onlyLines } from '../../cli/harmless.js';
import { take } from '../../snapshot/index.js';
import { randomBytes, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';
import { qemuImg } from '../tools/qemu.js';

/** Clears a screen, in both ways of writing it, breaks the line, and rings. */
const EVIL = 'evil\u001b[2J\u009b2J\nname\u0007\u007f';
const SHOWN = 'evil\uFFFD[2J\uFFFD2J\uFFFDname\uFFFD\uFFFD';

const CONTROLS = /[^\P{Cc}\n]/u;

t.test('names in a store can neither break a line nor move a cursor', async (t) => {
  const folder = tempDir(t);
  const [image, store, output] = ['image', 'store', 'output'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  fs.writeFileSync(image, randomBytes(16384, 1));
  await take({ image, store, tag: 'good', clusterSize: 4096 });
  t.equal(qemuImg(['snapshot', '-c', EVIL, store]).status, 0);
  const shows = async (lines: number, ...words: string[]): Promise<void> => {
    const { status, stdout, stderr } = await nvsnap(words);
    const name = words.map((word) => (word === EVIL ? 'EVIL' : word)).join(' ');
    t.equal(status, 0, `${name}: ${stderr}`);
    t.match(stdout, SHOWN, name);
    t.notMatch(stdout + stderr, CONTROLS, name);
    t.equal(stdout.split('\n').length - 1, lines, `${name}: its lines`);
  };
  await shows(3, 'list', store);
  await shows(9, 'info', store, EVIL);
  await shows(1, 'diff', store, 'good', EVIL);
  await shows(2, 'verify', store);
  await shows(1, 'compare', store, EVIL, image);
  await shows(1, 'restore', store, EVIL, output);
  await shows(4, 'prune', store, '--keep-last', '2', '--dry-run');
  const { stdout } = await nvsnap(['list', store, '--json']);
  t.ok(
    (JSON.parse(stdout) as { tag: string }[]).some(({ tag }) => tag === EVIL),
    'programs get it as it is',
  );
  await shows(1, 'remove', store, EVIL);
});

t.test('all texts of a result are made fit, and nothing else is changed', async (t) => {
  const kept = new Date(0);
  const value = { 'a\r': ['b\u001b', 1, null, true, undefined], c: { d: '\u2028' }, kept };
  t.same(harmless(value), {
    'a\uFFFD': ['b\uFFFD', 1, null, true, undefined],
    c: { d: '\uFFFD' },
    kept,
  });
  t.equal(onlyLines('a\tb\nc\r\n'), 'a\uFFFDb\nc\uFFFD\n');
});
