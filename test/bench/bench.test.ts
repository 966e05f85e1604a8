// The command around the benchmark. Its cases are in the slow suite.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkFile } from '../../bench/measure/check.js';
import { bench, benchWith, PROGRAM } from '../tools/bench.js';
import { tempDir } from '../tools/files.js';

t.setTimeout(180_000);

const MiB = 2 ** 20;

t.test('two saved runs are compared', async (t) => {
  const saved = join(tempDir(t), 'run.json');
  const small = ['--size', '2M', '--rounds', '2', '--kernel-ms', '20'];
  const words = [...small, '--only', 'tables,start', '--save', saved];
  const ran = await bench(...words, '--dir', tempDir(t));
  t.equal(ran.code, 0, ran.stderr);
  t.match(ran.stdout, /^machine .* cores, /m);
  t.match(ran.stdout, /^start: list of a store/m);
  const { stdout, code } = await bench('--compare', saved, saved);
  t.equal(code, 0);
  t.match(stdout, /^0 of \d+ figures differ beyond noise/m);
});

t.test('what is no saved run is refused, and not waited for', async (t) => {
  const dir = tempDir(t);
  const refuses = async (path: string, what: string): Promise<void> => {
    const { code, stdout, stderr } = await bench('--compare', path, path);
    t.same([code, stdout], [2, ''], what);
    t.equal(
      stderr,
      `nvsnap: ${path} is not a saved run.\nMake one with "nvsnap bench --save FILE".\n`,
      what,
    );
  };
  const path = join(dir, 'run.json');
  const lap = { name: 'nvsnap', milliseconds: [1, 2] };
  const result = { level: 'commands', title: 'a', laps: [lap], limits: [], ratios: [] };
  const run = { version: '1', date: 'd', machine: {}, options: {}, images: [], results: [result] };
  fs.writeFileSync(path, JSON.stringify(run));
  t.equal((await bench('--compare', path, path)).code, 0, 'this is one');
  const withLap = (more: object) => ({
    ...run,
    results: [{ ...result, laps: [{ ...lap, ...more }] }],
  });
  const wrong = [
    null,
    [],
    { results: [null] },
    { results: [{}] },
    { ...run, results: [null] },
    { ...run, results: [{}] },
    { ...run, images: [null] },
    { ...run, machine: null },
    withLap({ milliseconds: ['a'] }),
    withLap({ milliseconds: [] }),
    withLap({ milliseconds: [0] }),
    withLap({ at: {} }),
  ];
  for (const value of wrong) {
    fs.writeFileSync(path, JSON.stringify(value));
    await refuses(path, JSON.stringify(value));
  }
  fs.writeFileSync(path, JSON.stringify(run));
  fs.truncateSync(path, 64 * MiB + 1);
  await refuses(path, 'a long file');
  await refuses('/dev/zero', 'a device');
  const pipe = join(dir, 'pipe');
  t.equal(spawnSync('mkfifo', [pipe]).status, 0);
  await refuses(pipe, 'a pipe');
  const missing = await bench('--compare', join(dir, 'none'), path);
  t.equal(missing.code, 1);
  t.match(missing.stderr, /^nvsnap: Could not read .*none: no such file or directory\.\n/);
});

t.test("the user's own images are only read", async (t) => {
  const dir = tempDir(t);
  const [image, next] = [join(dir, 'image'), join(dir, 'next')];
  const bytes = Buffer.alloc(3 * MiB + 4096, 'some text ');
  fs.writeFileSync(image, bytes);
  fs.writeFileSync(next, Buffer.from(bytes).fill('other', MiB, MiB + 7));
  const made = fs.readFileSync(next);
  const words = ['--image', image, '--next', next, '--only', 'diff', '--rounds', '1'];
  const { code, stderr } = await bench(...words, '--dir', tempDir(t));
  t.equal(code, 0, stderr);
  t.ok(fs.readFileSync(image).equals(bytes));
  t.ok(fs.readFileSync(next).equals(made));
});

t.test('Ctrl-C leaves nothing behind', async (t) => {
  const dir = tempDir(t);
  const words = ['bench', '--size', '256M', '--only', 'zlib', '--dir', dir];
  const child = spawn(process.execPath, [PROGRAM, ...words], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const closed = once(child, 'close');
  for await (const words of child.stderr) if (String(words).includes('image')) break;
  t.equal(fs.readdirSync(dir).length, 1, 'it is at work');
  child.kill('SIGINT');
  t.same(await closed, [130, null]);
  t.same(fs.readdirSync(dir), []);
});

/** A folder of programs that each print some words as an error and end with 1, or with 0 where there are no words. */
const programs = (dir: string, words: Readonly<Record<string, string>>): string => {
  for (const [name, said] of Object.entries(words)) {
    const script = `#!/bin/sh\n${said ? `echo '${said}' >&2; exit 1` : 'exit 0'}\n`;
    fs.writeFileSync(join(dir, name), script, { mode: 0o755 });
  }
  return dir;
};

t.test('a file system that cannot be mounted is named, and why', async (t) => {
  const dir = tempDir(t);
  const path = programs(tempDir(t), {
    'qemu-img': '',
    'qemu-system-x86_64': '',
    'mkfs.btrfs': '',
    mount: 'mount: only root may\nand more',
  });
  const [page, saved] = [join(tempDir(t), 'page.html'), join(tempDir(t), 'run.json')];
  const words = ['--size', '2M', '--only', 'pause', '--html', page, '--save', saved, '--dir', dir];
  const { code, stdout, stderr } = await benchWith(path, ...words);
  t.equal(code, 0, stderr);
  const [xfs, btrfs] = [
    'xfs cannot be mounted here: mkfs.xfs is not installed.',
    'btrfs cannot be mounted here: mount: only root may',
  ];
  t.ok(stdout.endsWith(`on btrfs, beside that for savevm\n  ${btrfs}\n`), stdout);
  t.ok(stdout.includes(`on xfs, beside that for savevm\n  ${xfs}\n\n`), stdout);
  const html = fs.readFileSync(page, 'utf8');
  t.ok(html.includes(`<p class="quiet">${xfs}</p>`), 'so does the page');
  t.notMatch(html, /<div class="plot"|<details/, 'which has nothing to draw');
  t.equal((await bench('--compare', saved, saved)).code, 0, 'and such runs can be compared');
  t.same(fs.readdirSync(dir), []);
  const bare = programs(tempDir(t), { 'qemu-img': '' });
  const without = await benchWith(bare, '--size', '2M', '--only', 'pause', '--dir', dir);
  t.equal(without.stdout.match(/^ {2}qemu-system-x86_64 is not installed\.$/gm)?.length, 2);
});

t.test('an output that is not the image disqualifies', async (t) => {
  const dir = tempDir(t);
  const image = join(dir, 'image');
  const output = join(dir, 'output');
  const bytes = Buffer.alloc(5 * MiB, 1);
  fs.writeFileSync(image, bytes);
  fs.writeFileSync(output, bytes);
  t.match(await checkFile('a peer', image, output), /^[0-9a-f]{16}$/);
  const refused = (offset: number) => ({
    code: 'bench-wrong',
    details: { who: 'a peer', offset },
  });
  fs.writeFileSync(output, Buffer.from(bytes).fill(2, 4 * MiB + 77, 4 * MiB + 78));
  await t.rejects(checkFile('a peer', image, output), refused(4 * MiB + 77));
  fs.writeFileSync(output, bytes.subarray(1));
  await t.rejects(checkFile('a peer', image, output), refused(5 * MiB - 1));
  fs.writeFileSync(output, Buffer.concat([bytes, bytes]));
  await t.rejects(checkFile('a peer', image, output), refused(5 * MiB));
});

t.test('words that make no sense are refused', async (t) => {
  const refused = [
    ['--size', '5'],
    ['--only', 'last'],
    ['--rounds', '0'],
    ['--content', 'what'],
    ['--next', PROGRAM],
    ['--compare', PROGRAM],
    ['--compare', PROGRAM, PROGRAM],
  ];
  await Promise.all(
    refused.map(async (words) => {
      const { code, stderr, stdout } = await bench(...words);
      t.equal(code, 2, words.join(' '));
      t.match(stderr, /^nvsnap: .*\n.*\n$/);
      t.equal(stdout, '');
    }),
  );
  const full = await bench('--dir', tempDir(t), '--size', '8000T', '--only', 'first');
  t.equal(full.code, 1);
  t.match(full.stderr, /are needed\.\nChoose another --dir/);
  t.match((await bench('--list')).stdout, /^commands +first, /m);
});
