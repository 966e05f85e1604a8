// The benchmark, small: every case runs, every output is verified, nothing is left behind. Those that make many
// images or snapshots are in the slow suite.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { changeImage, makeImage } from '../../bench/index.js';
import { checkFile } from '../../bench/verify.js';
import { BENCH, bench, judgeBench } from '../tools/bench.js';
import { tempDir } from '../tools/files.js';

t.setTimeout(180_000);

const MiB = 2 ** 20;
const CASES = ['first', 'restore', 'verify', 'next', 'none', 'scan', 'update', 'diff'] as const;

t.test('every case runs and is verified', async (t) => {
  const { images } = await judgeBench(t, CASES);
  t.same(
    images.map(({ size }) => size),
    [16 * MiB, 32 * MiB],
  );
});

t.test('the table has a line for every contender', async (t) => {
  const dir = tempDir(t);
  const { stdout, code } = await bench(
    ...['--size', '4M', '--runs', '2', '--only', 'first,restore', '--dir', dir],
  );
  t.equal(code, 0);
  t.match(stdout, /^machine .* cores, /m);
  t.match(stdout, /^qemu-img qemu-img version /m);
  t.equal(stdout.match(/^ {2}nvsnap .* s /gm)?.length, 2);
  t.equal(stdout.match(/^ {2}qemu-img .* s .*×/gm)?.length, 2);
  t.equal(stdout.match(/verified: nvsnap, qemu-img/g)?.length, 2);
});

t.test('Ctrl-C leaves nothing behind', async (t) => {
  const dir = tempDir(t);
  const child = spawn(
    process.execPath,
    [BENCH, '--size', '256M', '--only', 'first', '--dir', dir],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const closed = once(child, 'close');
  for await (const words of child.stderr) if (String(words).includes('image')) break;
  t.equal(fs.readdirSync(dir).length, 1, 'it is at work');
  child.kill('SIGINT');
  t.same(await closed, [130, null]);
  t.same(fs.readdirSync(dir), []);
});

t.test('an output that is not the image disqualifies', async (t) => {
  const dir = tempDir(t);
  const image = join(dir, 'image');
  const output = join(dir, 'output');
  const bytes = Buffer.alloc(5 * MiB, 1);
  fs.writeFileSync(image, bytes);
  fs.writeFileSync(output, bytes);
  await checkFile('a peer', image, output);
  const refused = (at: number) => ({
    message: `a peer is disqualified: its output differs from the image at byte ${at}.`,
  });
  fs.writeFileSync(output, Buffer.from(bytes).fill(2, 4 * MiB + 77, 4 * MiB + 78));
  await t.rejects(checkFile('a peer', image, output), refused(4 * MiB + 77));
  fs.writeFileSync(output, bytes.subarray(1));
  await t.rejects(checkFile('a peer', image, output), refused(5 * MiB - 1));
  fs.writeFileSync(output, Buffer.concat([bytes, bytes]));
  await t.rejects(checkFile('a peer', image, output), refused(5 * MiB));
});

t.test('words that make no sense are refused', async (t) => {
  for (const words of [['--size', '5'], ['--only', 'last'], ['--runs', '0'], ['--what']]) {
    const { code, stderr, stdout } = await bench(...words);
    t.equal(code, 2, words.join(' '));
    t.match(stderr, /^bench: .*\nUsage: /s);
    t.equal(stdout, '');
  }
  const full = await bench('--dir', tempDir(t), '--size', '8000T', '--only', 'first');
  t.equal(full.code, 1);
  t.match(full.stderr, /are needed: choose another --dir/);
});

t.test('an image comes out the same from the same seed, and has its shares', async (t) => {
  const dir = tempDir(t);
  // Files of our own: one of this machine's may be most of so small an image.
  const roots = [join(dir, 'files')];
  fs.mkdirSync(roots[0] as string);
  const text = fs.readFileSync(BENCH);
  for (let n = 1; n <= 40; n += 1) {
    fs.writeFileSync(join(dir, 'files', `${n}`), Buffer.alloc(n * 10_007, text.subarray(n)));
  }
  const make = async (name: string, seed: number) => {
    const path = join(dir, name);
    const facts = await makeImage({ path, size: 32 * MiB, seed, roots });
    return { facts, bytes: fs.readFileSync(path) };
  };
  const [a, again, other] = [await make('a', 7), await make('again', 7), await make('other', 8)];
  t.equal(a.bytes.length, 32 * MiB);
  t.ok(a.bytes.equals(again.bytes), 'same seed, same bytes');
  t.same(a.facts, again.facts);
  t.notOk(a.bytes.equals(other.bytes), 'another seed, other bytes');
  t.ok(a.facts.zeroBytes > 0.25 * a.facts.size && a.facts.zeroBytes < 0.5 * a.facts.size);
  t.ok(a.facts.copyBytes > 0 && a.facts.noiseBytes > 0);
  const zero = Buffer.alloc(4096);
  let zeros = 0;
  for (let at = 0; at < a.bytes.length; at += zero.length) {
    if (a.bytes.subarray(at, at + zero.length).equals(zero)) zeros += zero.length;
  }
  t.ok(zeros >= 0.25 * a.facts.size, 'zero pages are what was counted as zeros');
});

t.test('a change touches as many clusters as asked for', async (t) => {
  const path = join(tempDir(t), 'image');
  await makeImage({ path, size: 8 * MiB, seed: 1 });
  const before = fs.readFileSync(path);
  changeImage(path, { clusterSize: 65536, count: 5, seed: 3 });
  const after = fs.readFileSync(path);
  let changed = 0;
  for (let at = 0; at < before.length; at += 65536) {
    if (!before.subarray(at, at + 65536).equals(after.subarray(at, at + 65536))) changed += 1;
  }
  t.equal(changed, 5);
});
