// The whole benchmark, small: every case runs, every output is verified, nothing is left behind.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { changeImage, makeImage } from '../../bench/index.js';
import { checkFile } from '../../bench/verify.js';

t.setTimeout(180_000);

const BENCH = fileURLToPath(new URL('../../bench/index.js', import.meta.url));
const MiB = 2 ** 20;

const tempDir = (t: Test): string => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'nvsnap-test-bench-'));
  t.teardown(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
};

const bench = async (...args: string[]) => {
  const child = spawn(process.execPath, [BENCH, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { stdout, stderr, code: code as number };
};

interface Printed {
  peers: Array<{ name: string; version?: string }>;
  images: Array<{ size: number; zeroBytes: number }>;
  results: Array<{
    case: string;
    title: string;
    laps: Array<{ name: string; milliseconds: number[]; bytes?: number }>;
    ratios: Array<{ peer: string; speed: number; bytes?: number }>;
    missing: string[];
    verified: string[];
  }>;
}

/** The peers of each case; what is not installed must be named as missing. */
const PEERS: Readonly<Record<string, readonly string[]>> = {
  first: ['qemu-img'],
  restore: ['qemu-img'],
  next: ['borg', 'restic'],
  none: ['qemu-img'],
  scan: ['dd'],
  verify: ['qemu-img'],
  update: ['whole'],
  diff: ['cmp'],
  scale: ['small'],
  sparse: ['read'],
  history: ['few'],
};

/** What makes nothing that could be wrong, or is its own judge. */
const WITHOUT_OUTPUT = new Set(['dd', 'cmp', 'read', 'single', 'processes']);

t.test('every case runs and is verified', async (t) => {
  const dir = tempDir(t);
  const sizes = ['--size', '16M', '--big', '32M', '--runs', '1'];
  const { stdout, stderr, code } = await bench(...sizes, '--dir', dir, '--json');
  t.equal(code, 0, stderr);
  const report = JSON.parse(stdout) as Printed;
  t.same(
    report.results.map((result) => result.case),
    [
      'first',
      'restore',
      'verify',
      'next',
      'none',
      'scan',
      'update',
      'diff',
      'scale',
      'sparse',
      'bulk',
      'bulk',
      'history',
      'history',
      'history',
    ],
  );
  const installed = report.peers.filter(({ version }) => version).map(({ name }) => name);
  const here = new Set([...installed, 'whole', 'small', 'read', 'few', 'single', 'processes']);
  t.ok(here.has('qemu-img'), 'qemu-img is here');
  for (const result of report.results) {
    // Of the two results of bulk, one is beside each.
    const expected =
      result.case === 'bulk' ? result.ratios.map(({ peer }) => peer) : (PEERS[result.case] ?? []);
    const found = expected.filter((name) => here.has(name));
    t.same(
      result.laps.map(({ name }) => name),
      ['nvsnap', ...found],
      `${result.case} has its contenders`,
    );
    for (const { name, milliseconds } of result.laps) {
      t.equal(milliseconds.length, 1, `${name} ran once`);
    }
    t.same(
      result.ratios.map(({ peer }) => peer),
      found,
    );
    t.ok(result.ratios.every(({ speed }) => Number.isFinite(speed) && speed > 0));
    t.same(
      result.missing,
      expected.filter((name) => !here.has(name)),
    );
    const made = ['nvsnap', ...found].filter((name) => !WITHOUT_OUTPUT.has(name));
    // A verification makes nothing either, nor does a list; restores are verified with what they restore.
    const own = result.case === 'history' && !result.title.startsWith('take') ? [] : made;
    t.same(result.verified, result.case === 'verify' ? found : own);
  }
  t.same(
    report.results.slice(-5, -3).flatMap(({ ratios }) => ratios.map(({ peer }) => peer)),
    ['single', 'processes'],
  );
  t.same(
    report.images.map(({ size }) => size),
    [16 * MiB, 32 * MiB],
  );
  t.same(fs.readdirSync(dir), [], 'nothing is left behind');
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
