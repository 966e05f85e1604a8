// Stock qemu-img as the judge: what it says about a store is what every other reader will say.

import { type Outcome, runToEnd } from './spawn.js';

/** Runs qemu-img to its end. */
export const qemuImg = (args: readonly string[]): Outcome =>
  runToEnd('qemu-img', args, { ...process.env, LC_ALL: 'C' });

/** What `qemu-img check` counts. */
export interface CheckReport {
  readonly status: number | null;
  readonly corruptions: number;
  readonly leaks: number;
  readonly checkErrors: number;
  /** Everything that was printed, for a person. */
  readonly text: string;
}

/** Runs `qemu-img check`; a count that is not in its answer is 0, as QEMU leaves zeros out. */
export const check = (path: string): CheckReport => {
  const { status, stdout, stderr } = qemuImg(['check', '--output=json', '-f', 'qcow2', path]);
  const counts: Record<string, unknown> = stdout.trim().startsWith('{') ? JSON.parse(stdout) : {};
  const count = (name: string): number => Number(counts[name] ?? 0);
  return {
    status,
    corruptions: count('corruptions'),
    leaks: count('leaks'),
    checkErrors: count('check-errors'),
    text: `${stdout}${stderr}`,
  };
};

/** Throws unless `qemu-img check` exits 0 and counts no corruption, no leak and no error. */
export const checkClean = (path: string): void => {
  const report = check(path);
  const { status, corruptions, leaks, checkErrors } = report;
  if (status === 0 && corruptions === 0 && leaks === 0 && checkErrors === 0) return;
  throw new Error(`qemu-img check of ${path} is not clean (exit ${status}):\n${report.text}`);
};

/** Writes one snapshot as a raw file with `qemu-img convert -l`; throws when qemu-img refuses. */
export const convertSnapshot = (store: string, tag: string, out: string): void => {
  // A comma ends an option's value in QEMU's syntax unless it is doubled.
  const name = `snapshot.name=${tag.replaceAll(',', ',,')}`;
  const { status, stderr } = qemuImg([
    'convert',
    '-f',
    'qcow2',
    '-l',
    name,
    '-O',
    'raw',
    store,
    out,
  ]);
  if (status === 0) return;
  throw new Error(`qemu-img convert of snapshot ${tag} exits ${status}: ${stderr}`);
};
