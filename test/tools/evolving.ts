// A real file system that changes: an ext4 image filled from a real directory tree, then rounds of
// what programs do to a disk: a SQLite database is updated, a log grows, files come, change and go.
//
// Where root, loop devices and ext4 are there, a round happens through a mount, in a mount namespace
// of its own: whatever becomes of the round, the mount ends with its process. Elsewhere debugfs
// writes the same files into the image. Which of the two it is is found out by trying.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { Random } from './files.js';

export type Method = 'loop mount' | 'debugfs';

export interface EvolvingOptions {
  /** Size of the image in bytes. */
  readonly bytes: number;
  /** Bytes of real files to fill it with; leave a third of the image for the rounds. */
  readonly fill: number;
  /** Default: a loop mount where that works. */
  readonly method?: Method;
}

const HOUSE = fileURLToPath(new URL('../../..', import.meta.url));
/** Real trees, in order of preference: the first is there wherever the tests run. */
const TREES = [join(HOUSE, 'node_modules'), '/usr/share', '/usr/lib'];
/** Names that need no quoting, neither for a shell nor for debugfs. */
const PLAIN_NAME = /^[\w@.+-]+$/;
/** One file may be at most this part of the fill, so that no single one is the image. */
const LARGEST_SHARE = 8;
/** File-system tools are not on every user's path. */
const ENV = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };
const MOUNT_TRIES = 3;
/** util-linux: mount failed. */
const MOUNT_FAILED = 32;

const run = (program: string, args: readonly string[], input = ''): { status: number | null } => {
  const { status, stderr, error } = spawnSync(program, args, { input, encoding: 'utf8', env: ENV });
  if (error) throw new Error(`${program} could not be started`, { cause: error });
  if (status !== 0 && status !== MOUNT_FAILED) {
    throw new Error(`${program} exits ${status}: ${stderr}`);
  }
  return { status };
};

const exists = (program: string, args: readonly string[]): boolean =>
  spawnSync(program, args, { env: ENV }).error === undefined;

function* filesBelow(folder: string): Generator<string> {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    if (!PLAIN_NAME.test(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

const shuffle = (list: string[], random: Random): string[] => {
  for (let i = list.length - 1; i > 0; i -= 1) {
    const j = random.below(i + 1);
    [list[i], list[j]] = [list[j] as string, list[i] as string];
  }
  return list;
};

/** Real files of together about `bytes` bytes, in an order that the seed fixes. */
const gather = (bytes: number, random: Random): string[] => {
  const chosen: string[] = [];
  let sum = 0;
  for (const tree of TREES) {
    if (!fs.existsSync(tree)) continue;
    for (const path of shuffle([...filesBelow(tree)].sort(), random)) {
      const { size } = fs.statSync(path);
      if (size === 0 || size > bytes / LARGEST_SHARE) continue;
      if (sum + size > bytes) return chosen;
      chosen.push(path);
      sum += size;
    }
  }
  return chosen;
};

/** Where a real file lies in the image: its own path, so that folders are as real as the files. */
const guestPath = (path: string): string =>
  `/tree/${path.startsWith(HOUSE) ? path.slice(HOUSE.length) : path.slice(1)}`;

const FIRST_SQL = `
create table items (id integer primary key, name text, changed integer, note text);
create index by_name on items (name);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 12000)
  insert into items select i, 'item ' || (i * 7919 % 12000), 0, hex(randomblob(40)) from n;
`;

/** Scattered updates, some inserts, some deletes: what a small service does between two takes. */
const roundSql = (round: number): string => `
begin;
update items set changed = changed + 1, note = hex(randomblob(40)) where id % 997 = ${round * 31};
update items set name = 'renamed ' || id where id between ${round * 200} and ${round * 200 + 15};
delete from items where id % 3001 = ${round};
commit;
insert into items (name, changed, note)
  select 'new ' || id, ${round}, note from items where id % 101 = ${round} limit 80;
`;

const DATABASE = '/service/data.db';
const LOG = '/service/events.log';
/** Where new files go: debugfs makes files reliably, but not folders. */
const ADDED = '/added';

/** A file of this machine and its place in the image. */
interface RealFile {
  readonly host: string;
  readonly guest: string;
}

/** What one round does to files. */
interface Round {
  readonly number: number;
  readonly added: readonly RealFile[];
  readonly removed: readonly string[];
  /** A file whose content becomes that of another. */
  readonly replaced: RealFile;
  readonly logLines: string;
}

export class EvolvingImage {
  readonly path: string;
  readonly method: Method;
  /** False when there is no sqlite3 command: then only files change. */
  readonly withSqlite: boolean;
  readonly #folder: string;
  readonly #random = new Random(20);
  readonly #present: RealFile[];
  /** Real files that the rounds bring in. */
  readonly #reserve: string[];
  #round = 0;

  constructor(folder: string, { bytes, fill, method }: EvolvingOptions) {
    this.#folder = fs.mkdtempSync(join(folder, 'evolving-'));
    this.path = join(folder, 'image');
    this.withSqlite = exists('sqlite3', ['--version']);
    const files = gather(fill, this.#random);
    const reserved = Math.ceil(files.length / 10);
    this.#reserve = files.slice(0, reserved);
    this.#present = files.slice(reserved).map((host) => ({ host, guest: guestPath(host) }));
    this.#make(bytes);
    this.method = method ?? (this.#mounted('true') ? 'loop mount' : 'debugfs');
  }

  /** The host's copy of a file that changes in place: what debugfs writes anew. */
  #mirror(guest: string): string {
    return join(this.#folder, basename(guest));
  }

  #make(bytes: number): void {
    const root = join(this.#folder, 'root');
    for (const { host, guest } of this.#present) {
      const to = join(root, guest);
      fs.mkdirSync(dirname(to), { recursive: true });
      fs.copyFileSync(host, to);
    }
    for (const folder of ['service', ADDED]) fs.mkdirSync(join(root, folder));
    fs.mkdirSync(join(this.#folder, 'mount'));
    if (this.withSqlite) run('sqlite3', [this.#mirror(DATABASE)], FIRST_SQL);
    fs.writeFileSync(this.#mirror(LOG), 'service started\n');
    for (const guest of this.withSqlite ? [DATABASE, LOG] : [LOG]) {
      fs.copyFileSync(this.#mirror(guest), join(root, guest));
    }
    fs.closeSync(fs.openSync(this.path, 'wx'));
    fs.truncateSync(this.path, bytes);
    run('mkfs.ext4', ['-q', '-F', '-m', '0', '-d', root, this.path]);
    fs.rmSync(root, { recursive: true });
  }

  /** Runs shell commands with the image mounted at $m; false when it cannot be mounted. */
  #mounted(commands: string): boolean {
    const script = [
      `mount -t ext4 -o loop "$i" "$m" || exit ${MOUNT_FAILED}`,
      'trap \'umount "$m"\' EXIT',
      'set -e',
      commands,
      'trap - EXIT',
      'umount "$m"',
    ].join('\n');
    const head = `i='${this.path}' m='${join(this.#folder, 'mount')}'\n`;
    const args = ['--mount', 'sh', '-c', head + script];
    const { status, stderr, error } = spawnSync('unshare', args, { encoding: 'utf8', env: ENV });
    if (status === 0) return true;
    if (error || status === MOUNT_FAILED || /unshare/.test(stderr)) return false;
    throw new Error(`a round of changes exits ${status}: ${stderr}`);
  }

  /** Takes one of the files that are there out of the list. */
  #choose(): RealFile {
    const [file] = this.#present.splice(this.#random.below(this.#present.length), 1);
    if (!file) throw new Error('the image has run out of files');
    return file;
  }

  #plan(): Round {
    const number = (this.#round += 1);
    const random = this.#random;
    const added = this.#reserve.splice(0, 3 + random.below(4)).map((host, i) => ({
      host,
      guest: `${ADDED}/${number}-${i}-${basename(host)}`,
    }));
    const removed = [this.#choose(), this.#choose()];
    const [old, other] = [this.#choose(), this.#choose()];
    const replaced = { host: other.host, guest: old.guest };
    this.#present.push(...added, replaced, other);
    const line = (i: number): string => `round ${number}, event ${i}: ${random.next()}\n`;
    return {
      number,
      added,
      removed: removed.map(({ guest }) => guest),
      replaced,
      logLines: Array.from({ length: 200 }, (_, i) => line(i)).join(''),
    };
  }

  /** One more round of changes. The image is unmounted again when this returns. */
  evolve(): void {
    const round = this.#plan();
    const lines = join(this.#folder, 'lines');
    const sql = join(this.#folder, 'sql');
    fs.writeFileSync(lines, round.logLines);
    fs.writeFileSync(sql, roundSql(round.number));
    if (this.method === 'debugfs') this.#evolveByDebugfs(round);
    else this.#evolveByMount(round, { lines, sql });
  }

  #evolveByMount(round: Round, host: { lines: string; sql: string }): void {
    const commands = [
      ...(this.withSqlite ? [`sqlite3 "$m${DATABASE}" < '${host.sql}'`] : []),
      `cat '${host.lines}' >> "$m${LOG}"`,
      ...round.removed.map((guest) => `rm "$m${guest}"`),
      ...[...round.added, round.replaced].map(({ host, guest }) => `cp '${host}' "$m${guest}"`),
    ].join('\n');
    // Another user of loop devices may be faster to the one that mount chose.
    for (let tries = 1; tries <= MOUNT_TRIES; tries += 1) if (this.#mounted(commands)) return;
    throw new Error('the image cannot be mounted any more');
  }

  #evolveByDebugfs(round: Round): void {
    fs.appendFileSync(this.#mirror(LOG), round.logLines);
    if (this.withSqlite) run('sqlite3', [this.#mirror(DATABASE)], roundSql(round.number));
    const again = this.withSqlite ? [DATABASE, LOG] : [LOG];
    const commands = [
      ...again.flatMap((guest) => [`rm ${guest}`, `write ${this.#mirror(guest)} ${guest}`]),
      ...round.removed.map((guest) => `rm ${guest}`),
      `rm ${round.replaced.guest}`,
      ...[...round.added, round.replaced].map(({ host, guest }) => `write ${host} ${guest}`),
    ].join('\n');
    run('debugfs', ['-w', '-f', '-', this.path], `${commands}\n`);
  }
}

/** Makes an evolving image `image` in `folder`, and says in the test's output how it will change. */
export const evolvingImage = (t: Test, folder: string, options: EvolvingOptions): EvolvingImage => {
  const image = new EvolvingImage(folder, options);
  const what = image.withSqlite ? 'SQLite and files' : 'files only, as there is no sqlite3';
  t.comment(`the image changes by ${image.method} (${what})`);
  return image;
};

/** True when e2fsck finds nothing wrong with an ext4 image. */
export const isSound = (path: string): boolean =>
  spawnSync('e2fsck', ['-f', '-n', path], { env: ENV }).status === 0;
