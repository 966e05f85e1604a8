// Results that are longer than a pipe holds, and readers that are slower than the command or go away early.

import fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { take } from '../../snapshot/index.js';
import { randomBytes, tempDir } from '../tools/files.js';
import { MAIN, start } from '../tools/nvsnap.js';

const CLUSTER = 4096;
/** Every other cluster differs: some 70 bytes of JSON for each range, more than twice what a pipe holds. */
const RANGES = 2500;

const makeStore = async (t: Test): Promise<string> => {
  const folder = tempDir(t);
  const [image, store] = [join(folder, 'image'), join(folder, 'store.qcow2')];
  const content = randomBytes(2 * RANGES * CLUSTER, 1);
  for (const tag of ['a', 'b']) {
    fs.writeFileSync(image, content);
    await take({ image, store, tag, clusterSize: CLUSTER, compression: 'none' });
    for (let i = 0; i < RANGES; i += 1) content.writeUInt32LE(i, 2 * i * CLUSTER);
  }
  return store;
};

t.test('a slow reader gets all of a long result', async (t) => {
  const store = await makeStore(t);
  const piped = (reader: string) =>
    start('bash', [
      '-c',
      `"$@" | ${reader}; echo "\${PIPESTATUS[0]}" >&2`,
      'bash',
      ...[process.execPath, '--no-warnings', MAIN, 'diff', store, 'a', 'b', '--json'],
    ]).ended;
  const slow = await piped('(sleep 1; cat)');
  t.equal(slow.stderr, '0\n');
  t.equal(JSON.parse(slow.stdout).ranges.length, RANGES);
  const early = await piped('head -c 1');
  t.same([early.stdout, early.stderr], ['{', '0\n'], 'one that goes away hurts nobody');
});

t.test('a result that cannot be written is a failure, and it is said', async (t) => {
  const store = await makeStore(t);
  const into = (place: string, words: readonly string[]) => {
    const command = ['bash', process.execPath, '--no-warnings', MAIN, ...words];
    return start('bash', ['-c', `trap '' XFSZ; ulimit -f 8; exec "$@" ${place}`, ...command]).ended;
  };
  const full = /^nvsnap: No space is left to write standard output\.\n[^\n]*\.\n$/;
  const calls = [
    ['list', store],
    ['list', store, '--json'],
    ['info', store],
    ['check', store, '--json'],
    ['verify', store, '--json'],
    ['diff', store, 'a', 'b'],
    ['stages'],
    ['--help'],
    ['help', 'take'],
    ['--version'],
  ];
  for (const words of calls) {
    const { status, stderr } = await into('>/dev/full', words);
    t.equal(status, 1, words.join(' '));
    t.match(stderr, full, words.join(' '));
  }
  t.match(await into('>/dev/full', []), { status: 2, stderr: full }, 'a worse exit code stays');
  const unknown = await into('>/dev/full', ['list', store, '--unknown', '--json']);
  t.equal(unknown.status, 2);
  t.match(unknown.stderr, /Unknown option[\s\S]*No space is left/);
  t.match(await into('>/dev/full', ['list', store, '--quiet']), { status: 0, stderr: '' });
  t.match(await into('</dev/null 1<&0', ['list', store]), {
    status: 1,
    stderr: /Could not write standard output: bad file descriptor\./,
  });
  const part = join(tempDir(t), 'part');
  t.match(await into(`>${part}`, ['diff', store, 'a', 'b', '--json']), {
    status: 1,
    stderr: /Could not write standard output: file too large\./,
  });
  t.equal(fs.statSync(part).size, 8 * 1024, 'of which a part was written');
});
