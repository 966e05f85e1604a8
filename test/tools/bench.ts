// The benchmark, small, and what must hold of all that it prints.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { Report } from '../../bench/index.js';
import { tempDir } from './files.js';

export const PROGRAM = fileURLToPath(new URL('../../run/nvsnap.js', import.meta.url));

/** Runs the benchmark as its users do, with the programs that are found in `path`. */
export const benchWith = async (path: string, ...args: string[]) => {
  const child = spawn(process.execPath, [PROGRAM, 'bench', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: path },
  });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { stdout, stderr, code: code as number };
};

export const bench = (...args: string[]) => benchWith(process.env.PATH ?? '', ...args);

/** Contenders of the cases that have some, ours first, where every peer is installed. */
const CONTENDERS: Readonly<Record<string, readonly string[]>> = {
  first: ['nvsnap', 'qemu-img', 'zstd', 'borg', 'restic', 'casync'],
  zlib: ['nvsnap', 'qemu-img'],
  restore: ['nvsnap', 'qemu-img', 'borg', 'restic', 'zstd'],
  verify: ['nvsnap', 'qemu-img'],
  remove: ['nvsnap', 'qemu-img snapshot -d', 'qemu-img rebase', 'qemu-img commit'],
  start: ['nvsnap', 'node', '1.5 × node + 80 ms'],
  none: ['nvsnap', 'qemu-img', 'cp', 'dd'],
  next: ['nvsnap', 'two dd', 'borg', 'restic'],
  update: ['nvsnap', 'whole'],
  diff: ['nvsnap', 'cmp'],
  pause: ['nvsnap', 'savevm'],
  overhead: ['pools', 'fused'],
  huge: ['nvsnap', 'small'],
  sparse: ['nvsnap', 'read'],
  history: ['nvsnap', 'few'],
};

/** What is not this machine's, or makes nothing that could be wrong. */
const UNVERIFIED = new Set([
  'savevm',
  'two dd',
  'cmp',
  'node',
  '1.5 × node + 80 ms',
  'read',
  'single',
  'processes',
]);
const OPTIONAL = ['borg', 'restic', 'casync', 'zstd'];

const RESULTS: Readonly<Record<string, number>> = { bulk: 2, history: 3, hops: 2, pause: 2 };
/** Only root can mount what a pause is measured on. */
const UNMEASURED = new Set(process.getuid?.() === 0 ? [] : ['pause']);

/** Runs some cases, small, and judges what they print; returns the report. */
export const judgeBench = async (
  t: Test,
  cases: readonly string[],
  ...more: string[]
): Promise<Report> => {
  const dir = tempDir(t);
  const { stdout, stderr, code } = await bench(
    ...['--size', '8M', '--big', '16M', '--rounds', '1', '--kernel-ms', '1'],
    ...['--only', cases.join(), '--dir', dir, '--json'],
    ...more,
  );
  t.equal(code, 0, stderr);
  const report = JSON.parse(stdout) as Report;
  t.same(fs.readdirSync(dir), [], 'nothing is left behind');
  const absent = report.peers
    .filter(({ version }) => version === undefined)
    .map(({ name }) => name);
  t.same(
    absent.filter((name) => !OPTIONAL.includes(name)),
    [],
    'what the other tests need too is here',
  );
  for (const name of cases) {
    const found = report.results.filter((result) => result.case === name);
    // One for each batch size that is not larger than the image.
    const usual = name === 'overhead' ? Math.max(1, found.length) : (RESULTS[name] ?? 1);
    t.equal(found.length, usual, `${name} has its results`);
  }
  for (const result of report.results) {
    const { case: name, laps, limits, ratios, missing, verified, digest, axis } = result;
    if (UNMEASURED.has(name)) {
      t.same([laps.length, missing.length], [0, 1], `${name} says why it is not measured`);
      continue;
    }
    t.match(digest, /^[0-9a-f]{16}$/, `${name} says what it made`);
    for (const { milliseconds } of [...laps, ...limits]) {
      t.equal(milliseconds.length, 1, `${name}: one round`);
      t.ok(milliseconds.every((time) => time > 0));
    }
    const all = CONTENDERS[name];
    if (all) {
      const here = all.filter((contender) => !absent.includes(contender));
      t.same(
        laps.map((lap) => lap.name),
        here,
        `${name} has its contenders`,
      );
      t.same(
        verified,
        here.filter((contender) => !UNVERIFIED.has(contender)),
        `${name}: outputs are verified`,
      );
      const why = missing.map((words) => words.split(' ')[0]);
      t.same(
        why,
        all.filter((contender) => absent.includes(contender)),
        `${name} says who is missing`,
      );
    }
    if (axis) t.ok(laps.every(({ at }) => at !== undefined) && verified.length > 0);
    else {
      t.equal(ratios.length, laps.length - 1 + limits.length, `${name} is held against all`);
      t.ok(ratios.every(({ speed }) => speed > 0));
    }
  }
  return report;
};
