// The study of cluster sizes, small: it runs, its figures agree with each other, nothing is left behind.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { describeStudy, type Study, type Taken } from '../../bench/index.js';

t.setTimeout(240_000);

const STUDY = fileURLToPath(new URL('../../scripts/study.js', import.meta.url));

const runStudy = async (...args: string[]) => {
  const child = spawn(process.execPath, [STUDY, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { stdout, stderr, code: code as number };
};

const sum = (taken: readonly Taken[], of: (one: Taken) => number): number =>
  taken.reduce((total, one) => total + of(one), 0);

t.test('a small image, two rounds, two cluster sizes', async (t) => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'nvsnap-test-study-'));
  t.teardown(() => fs.rmSync(dir, { recursive: true, force: true }));
  const words = ['--size', '64M', '--rounds', '2', '--sizes', '4K,64K', '--dir', dir, '--json'];
  const { stdout, stderr, code } = await runStudy(...words);
  t.equal(code, 0, stderr);
  t.same(fs.readdirSync(dir), [], 'nothing is left behind');
  const study = JSON.parse(stdout) as Study;
  t.same(
    study.variants.map(({ clusterSize, dedup }) => [clusterSize, dedup]),
    [4096, 65536].flatMap((size) => ['parent', 'store'].map((dedup) => [size, dedup])),
  );
  for (const { clusterSize, changed, inParent, twice } of study.elsewhere) {
    const [plain, wide] = study.variants.filter((v) => v.clusterSize === clusterSize);
    if (!plain || !wide) throw new Error('both ways are there');
    t.ok(changed > 0, 'the image changes', { changed });
    const [stored, less] = [plain, wide].map(({ next }) => sum(next, (n) => n.storedClusters));
    t.equal(stored, changed, `${clusterSize}: what changed is stored`);
    t.equal(less, changed - inParent - twice, 'but for what its digest says is elsewhere');
    t.equal(
      sum(wide.next, (n) => n.twinClusters),
      inParent + twice,
    );
    t.same(wide.first, plain.first);
  }
  for (const { first, next, restore, verify } of study.variants) {
    for (const { milliseconds, cpuMilliseconds } of [first, ...next, restore, verify]) {
      t.ok(milliseconds > 0 && cpuMilliseconds > 0, 'is measured');
    }
  }
  const small = study.elsewhere.find(({ clusterSize }) => clusterSize === 4096);
  t.ok((small?.inParent ?? 0) > 0, 'files that are written anew lie elsewhere');
  const table = describeStudy(study);
  t.equal(table.match(/^\S+ KiB +(parent|store) .*\)/gm)?.length, 4, 'a line for each variant');
});

t.test('words that make no sense are refused', async (t) => {
  for (const words of [['--size', '5'], ['--rounds', '0'], ['--sizes', '4K,x'], ['--what']]) {
    const { code, stderr, stdout } = await runStudy(...words);
    t.equal(code, 2, words.join(' '));
    t.match(stderr, /^study: .*\nUsage: /s);
    t.equal(stdout, '');
  }
  t.equal((await runStudy('--help')).code, 0);
  const full = await runStudy('--size', '8000T');
  t.equal(full.code, 1);
  t.match(full.stderr, /are needed: choose another --dir/);
});
