// The benchmark, small, and what must hold of all that it prints.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { tempDir } from './files.js';

export const BENCH = fileURLToPath(new URL('../../bench/index.js', import.meta.url));

/** Runs the benchmark as its users do. */
export const bench = async (...args: string[]) => {
  const child = spawn(process.execPath, [BENCH, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { stdout, stderr, code: code as number };
};

export interface Printed {
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

const RESULTS: Readonly<Record<string, number>> = { bulk: 2, history: 3 };

/** What makes nothing that could be wrong, or is its own judge. */
const WITHOUT_OUTPUT = new Set(['dd', 'cmp', 'read', 'single', 'processes']);

/** The cases, of which `bulk` has two results and `history` three. */
const resultsOf = (cases: readonly string[]): readonly string[] =>
  cases.flatMap((name) => Array.from({ length: RESULTS[name] ?? 1 }, () => name));

/** Runs some cases, small, and judges what they print; returns the report. */
export const judgeBench = async (t: Test, cases: readonly string[]): Promise<Printed> => {
  const dir = tempDir(t);
  const sizes = ['--size', '16M', '--big', '32M', '--runs', '1'];
  const { stdout, stderr, code } = await bench(
    ...sizes,
    '--only',
    cases.join(),
    '--dir',
    dir,
    '--json',
  );
  t.equal(code, 0, stderr);
  const report = JSON.parse(stdout) as Printed;
  t.same(
    report.results.map((result) => result.case),
    resultsOf(cases),
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
  t.same(fs.readdirSync(dir), [], 'nothing is left behind');
  return report;
};
