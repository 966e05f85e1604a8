// What is new is no more readable than what it was made from.

import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { convert, restore, take } from '../../snapshot/index.js';
import { Random, tempDir } from '../tools/files.js';
import { nvsnap } from '../tools/nvsnap.js';

const before = process.umask(0);
t.teardown(() => {
  process.umask(before);
});

const modeOf = (path: string): string => (fs.statSync(path).mode & 0o777).toString(8);

for (const [image, made] of [
  [0o600, '600'],
  [0o640, '640'],
  [0o664, '664'],
  [0o666, '666'],
  [0o755, '644'],
  // Who owns it must be able to take the next snapshot.
  [0o400, '600'],
] as const) {
  t.test(`of an image with mode ${image.toString(8)}`, async (t) => {
    const folder = tempDir(t);
    const at = (name: string): string => join(folder, name);
    fs.writeFileSync(at('image'), new Random(1).bytes(100_000));
    fs.chmodSync(at('image'), image);
    await take({ image: at('image'), store: at('store') });
    t.equal(modeOf(at('store')), made, 'the store');
    await restore({ store: at('store'), snapshot: 'latest', output: at('restored') });
    t.equal(modeOf(at('restored')), made, 'what is restored from it');
    await convert({ store: at('store'), output: at('converted') });
    t.equal(modeOf(at('converted')), made, 'what it is converted to');
    fs.chmodSync(at('store'), 0o644);
    await take({ image: at('image'), store: at('store') });
    t.equal(modeOf(at('store')), '644', 'a store that is there keeps what its owner gave it');
  });
}

t.test('the umask counts as ever, and for standard input alone', async (t) => {
  const folder = tempDir(t);
  const at = (name: string): string => join(folder, name);
  fs.writeFileSync(at('image'), new Random(1).bytes(100_000), { mode: 0o666 });
  process.umask(0o027);
  t.teardown(() => process.umask(0));
  const input = fs.openSync(at('image'), 'r');
  const piped = ['take', '-', at('piped'), '--size', '100000'];
  const runs = await Promise.all([
    nvsnap(['take', at('image'), at('store')]),
    nvsnap(piped, { stdio: [input, 'pipe', 'pipe'] }),
  ]);
  fs.closeSync(input);
  t.same(
    runs.map(({ status }) => status),
    [0, 0],
  );
  t.same([modeOf(at('store')), modeOf(at('piped'))], ['640', '640']);
});
