// A table of calls that must be refused: each runs as a real process in a folder of its own, and must
// leave every file there as it was.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { take } from '../../snapshot/index.js';
import { Random } from './files.js';
import { type Ended, startNvsnap } from './nvsnap.js';

/** Calls under way at once. */
const AT_ONCE = 3;
const IMAGE_BYTES = 300 * 1024;

/** Stack traces, system codes, holes in a sentence, and a second sentence of what. */
const PLAIN_WORDS_HAVE_NO =
  /^ +at |\bE[A-Z]{4,}:|undefined|NaN|\[object|\.\.\n|^nvsnap: .*[.!] [A-Z]|\.(new|part)-/m;

/** What a case finds in its folder, by the names that it may use in its arguments. */
export interface Place {
  readonly folder: string;
  readonly image: string;
  /** A store with one snapshot of the image, tagged "one". */
  readonly store: string;
}

export interface Refusal {
  readonly name: string;
  readonly args: (place: Place) => readonly string[];
  /** The fault's code, and the exit code. */
  readonly code: string;
  readonly status: 1 | 2 | 3;
  /** Something that the first sentence says. */
  readonly says?: RegExp;
  /** Makes the situation. What it returns is done when the case is over. */
  readonly arrange?: (place: Place) => void | (() => void) | Promise<void | (() => void)>;
  readonly input?: Uint8Array;
  /** Runs as this user. */
  readonly uid?: number;
}

/** A case but for its arguments. */
export type Situation = Omit<Refusal, 'args'>;

/** A take of the image into the store, with more arguments. */
export const takes = (extra: readonly string[], rest: Situation): Refusal => ({
  args: ({ image, store }) => ['take', image, store, ...extra],
  ...rest,
});

/** Every file below a folder, by name, with what can be compared of it. */
const inventory = (folder: string): Record<string, string> => {
  const files: Record<string, string> = {};
  for (const entry of fs.readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    files[path] = entry.isFile()
      ? createHash('sha256').update(fs.readFileSync(path)).digest('hex')
      : `mode ${fs.lstatSync(path).mode}`;
  }
  return files;
};

/** Makes the image and the store that every case gets a copy of. */
export const makeTemplate = async (folder: string): Promise<Place> => {
  const [image, store] = [join(folder, 'image'), join(folder, 'store')];
  fs.writeFileSync(image, new Random(1).bytes(IMAGE_BYTES));
  await take({ image, store, tag: 'one' });
  return { folder, image, store };
};

const makePlace = (parent: string, template: Place): Place => {
  const folder = fs.mkdtempSync(join(parent, 'case-'));
  // Another user must be able to look in.
  fs.chmodSync(folder, 0o755);
  const place = { folder, image: join(folder, 'image'), store: join(folder, 'store') };
  fs.copyFileSync(template.image, place.image);
  fs.copyFileSync(template.store, place.store);
  return place;
};

const runCase = async (refusal: Refusal, place: Place): Promise<Ended> => {
  const { child, ended } = startNvsnap([...refusal.args(place), '--json'], {
    cwd: place.folder,
    stdio: [refusal.input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    ...(refusal.uid === undefined ? {} : { uid: refusal.uid, gid: refusal.uid }),
  });
  // It need not read all that it is given.
  child.stdin?.on('error', () => {});
  child.stdin?.end(refusal.input);
  return ended;
};

const codeIn = (stdout: string): unknown => {
  try {
    return (JSON.parse(stdout) as { error?: { code?: unknown } }).error?.code;
  } catch {
    return stdout;
  }
};

/** Runs one case and judges it. */
const judge = async (t: Test, parent: string, template: Place, refusal: Refusal): Promise<void> => {
  const place = makePlace(parent, template);
  const undo = await refusal.arrange?.(place);
  try {
    const before = inventory(place.folder);
    const { status, stdout, stderr } = await runCase(refusal, place);
    const found = { status, code: codeIn(stdout) };
    t.same(found, { status: refusal.status, code: refusal.code }, `${refusal.name}\n${stderr}`);
    t.match(stderr, /^nvsnap: [^\n]*\.\n[^\n]*\.\n$/, `${refusal.name}: what, and what to do`);
    t.notMatch(stderr, PLAIN_WORDS_HAVE_NO, `${refusal.name}: in plain words`);
    if (refusal.says) t.match(stderr.split('\n')[0], refusal.says, refusal.name);
    t.same(inventory(place.folder), before, `${refusal.name}: nothing is changed`);
  } finally {
    undo?.();
  }
};

/** Runs a table of cases, several at once. */
export const judgeAll = async (
  t: Test,
  parent: string,
  template: Place,
  refusals: readonly Refusal[],
): Promise<void> => {
  const waiting = [...refusals];
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      await judge(t, parent, template, next);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
};
