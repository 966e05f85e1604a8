// A real file system that changes: an ext4 image filled from real directory trees, then rounds of what
// programs do to a disk: a SQLite database is updated, a log grows, files come, change and go.
//
// Where root, loop devices and ext4 are there, a round happens through a mount, in a mount namespace
// of its own: whatever becomes of the round, the mount ends with its process. Elsewhere debugfs
// writes the same files into the image. Which of the two it is is found out by trying.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random } from '../workload/random.js';
import { type Amounts, amountsOf, firstSql, type RoundKind, sqlOf } from './evolution.js';

export type Method = 'loop mount' | 'debugfs';

export interface EvolvingOptions {
  /** Size of the image in bytes. */
  readonly bytes: number;
  /** Bytes of real files to fill it with; leave a third of the image for the rounds. */
  readonly fill: number;
  /** Default: a loop mount where that works. */
  readonly method?: Method;
  readonly seed?: number;
  /** Rows of the database. */
  readonly rows?: number;
}

const HOUSE = fileURLToPath(new URL('../../..', import.meta.url));
/** Real trees, in order of preference: the first is there wherever this runs. */
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
const DEFAULT_SEED = 20;
const DEFAULT_ROWS = 12_000;
/** Bytes of one record of the file that is changed in place, and the fewest it has. */
const RECORD_BYTES = 64;
const MIN_RECORDS = 4096;

const run = (program: string, args: readonly string[], input = ''): { status: number | null } => {
  const { status, stderr, error } = spawnSync(program, args, { input, encoding: 'utf8', env: ENV });
  if (error) throw new Error(`${program} could not be started`, { cause: error });
  if (status !== 0 && status !== MOUNT_FAILED) {
    throw new Error(`${program} exits ${status}: ${stderr}`);
  }
  return { status };
};

/** True when there is such a program. */
export const exists = (program: string, args: readonly string[]): boolean =>
  spawnSync(program, args, { env: ENV }).error === undefined;

function* filesBelow(folder: string): Generator<string> {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    if (!PLAIN_NAME.test(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

/** Real files of together about `bytes` bytes, in an order that the seed fixes. */
const gather = (bytes: number, random: Random): string[] => {
  const chosen: string[] = [];
  let sum = 0;
  for (const tree of TREES) {
    if (!fs.existsSync(tree)) continue;
    const paths = [...filesBelow(tree)].sort();
    random.shuffle(paths);
    for (const path of paths) {
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

const DATABASE = '/service/data.db';
const LOG = '/service/events.log';
/** Records of equal length that are changed in place. */
const RECORD_FILE = '/service/records';
/** Where new files go: debugfs makes files reliably, but not folders. */
const ADDED = '/added';

/** A file of this machine and its place in the image. */
interface RealFile {
  readonly host: string;
  readonly guest: string;
}

/** A record that changes in place. */
interface Patch {
  readonly at: number;
  readonly text: string;
}

/** What one round does to files. */
interface Round {
  readonly number: number;
  readonly added: readonly RealFile[];
  readonly removed: readonly string[];
  /** Files whose content becomes that of another. */
  readonly replaced: readonly RealFile[];
  /** Files that are written anew with what they hold. */
  readonly rewritten: readonly RealFile[];
  readonly patches: readonly Patch[];
  readonly logLines: string;
  readonly sql: string;
}

export class EvolvingImage {
  readonly path: string;
  readonly method: Method;
  /** False when there is no sqlite3 command: then only files change. */
  readonly withSqlite: boolean;
  readonly #folder: string;
  readonly #rows: number;
  readonly #records: number;
  readonly #random: Random;
  readonly #present: RealFile[];
  /** Real files that the rounds bring in. */
  readonly #reserve: string[];
  #round = 0;

  constructor(folder: string, { bytes, fill, method, seed, rows }: EvolvingOptions) {
    this.#folder = fs.mkdtempSync(join(folder, 'evolving-'));
    this.path = join(folder, 'image');
    this.#rows = rows ?? DEFAULT_ROWS;
    this.#records = Math.max(MIN_RECORDS, Math.floor(this.#rows / 8));
    this.#random = new Random(seed ?? DEFAULT_SEED);
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

  get #mirrored(): readonly string[] {
    return this.withSqlite ? [DATABASE, LOG, RECORD_FILE] : [LOG, RECORD_FILE];
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
    if (this.withSqlite) run('sqlite3', [this.#mirror(DATABASE)], firstSql(this.#rows));
    fs.writeFileSync(this.#mirror(LOG), 'service started\n');
    const records = Array.from({ length: this.#records }, (_, i) => this.#record(i));
    fs.writeFileSync(this.#mirror(RECORD_FILE), records.join(''));
    for (const guest of this.#mirrored) fs.copyFileSync(this.#mirror(guest), join(root, guest));
    fs.closeSync(fs.openSync(this.path, 'wx'));
    fs.truncateSync(this.path, bytes);
    run('mkfs.ext4', ['-q', '-F', '-m', '0', '-d', root, this.path]);
    fs.rmSync(root, { recursive: true });
  }

  #record(number: number): string {
    const text = `${number} is ${this.#random.word()} of ${this.#random.word()}`;
    return `${text.padEnd(RECORD_BYTES - 1)}\n`;
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
    const file = join(this.#folder, 'script');
    fs.writeFileSync(file, `i='${this.path}' m='${join(this.#folder, 'mount')}'\n${script}\n`);
    const args = ['--mount', 'sh', file];
    const { status, stderr, error } = spawnSync('unshare', args, { encoding: 'utf8', env: ENV });
    if (status === 0) return true;
    if (error || status === MOUNT_FAILED || /unshare/.test(stderr)) return false;
    throw new Error(`a round of changes exits ${status}: ${stderr}`);
  }

  /** Takes some of the files that are there out of the list. */
  #choose(count: number): RealFile[] {
    return Array.from({ length: count }, () => {
      const at = this.#random.between(0, this.#present.length - 1);
      const [file] = this.#present.splice(at, 1);
      if (!file) throw new Error('the image has run out of files');
      return file;
    });
  }

  #plan(kind: RoundKind): Round {
    const number = (this.#round += 1);
    const random = this.#random;
    const amounts: Amounts = amountsOf(kind, this.#present.length, random.between(0, 3));
    const added = this.#reserve.splice(0, amounts.added).map((host, i) => ({
      host,
      guest: `${ADDED}/${number}-${i}-${basename(host)}`,
    }));
    const removed = this.#choose(amounts.removed);
    const rewritten = this.#choose(amounts.rewritten);
    const old = this.#choose(amounts.replaced);
    const others = this.#choose(amounts.replaced);
    const replaced = old.map(({ guest }, i) => ({ host: (others[i] as RealFile).host, guest }));
    this.#present.push(...added, ...rewritten, ...replaced, ...others);
    const patches = Array.from({ length: amounts.patches }, () => {
      const record = random.between(0, this.#records - 1);
      return { at: record, text: this.#record(record) };
    });
    const line = (i: number): string => `round ${number}, event ${i}: ${random.word()}\n`;
    return {
      number,
      added,
      removed: removed.map(({ guest }) => guest),
      replaced,
      rewritten,
      patches,
      logLines: Array.from({ length: amounts.logLines }, (_, i) => line(i)).join(''),
      sql: this.withSqlite ? sqlOf(amounts.sql, number, this.#rows) : '',
    };
  }

  /** One more round of changes. The image is unmounted again when this returns. */
  evolve(kind: RoundKind = 'usual'): void {
    const round = this.#plan(kind);
    if (this.method === 'debugfs') this.#evolveByDebugfs(round);
    else this.#evolveByMount(round);
  }

  #evolveByMount(round: Round): void {
    const [lines, sql] = [join(this.#folder, 'lines'), join(this.#folder, 'sql')];
    fs.writeFileSync(lines, round.logLines);
    fs.writeFileSync(sql, round.sql);
    const records = `of="$m${RECORD_FILE}" bs=${RECORD_BYTES} conv=notrunc status=none`;
    const commands = [
      ...(round.sql ? [`sqlite3 "$m${DATABASE}" < '${sql}'`] : []),
      `cat '${lines}' >> "$m${LOG}"`,
      ...round.patches.map(({ at, text }) => `echo '${text.trim()}' | dd ${records} seek=${at}`),
      ...round.removed.map((guest) => `rm "$m${guest}"`),
      ...[...round.added, ...round.replaced].map(({ host, guest }) => `cp '${host}' "$m${guest}"`),
      ...round.rewritten.flatMap(({ guest }) => [
        `cp "$m${guest}" "$m${guest}.new"`,
        `mv "$m${guest}.new" "$m${guest}"`,
      ]),
    ].join('\n');
    // Another user of loop devices may be faster to the one that mount chose.
    for (let tries = 1; tries <= MOUNT_TRIES; tries += 1) if (this.#mounted(commands)) return;
    throw new Error('the image cannot be mounted any more');
  }

  #evolveByDebugfs(round: Round): void {
    fs.appendFileSync(this.#mirror(LOG), round.logLines);
    if (round.sql) run('sqlite3', [this.#mirror(DATABASE)], round.sql);
    const records = fs.openSync(this.#mirror(RECORD_FILE), 'r+');
    for (const { at, text } of round.patches) fs.writeSync(records, text, at * RECORD_BYTES);
    fs.closeSync(records);
    const again = this.#mirrored.filter(
      (guest) =>
        guest === LOG || (guest === DATABASE ? round.sql !== '' : round.patches.length > 0),
    );
    const anew = [...round.replaced, ...round.rewritten];
    const commands = [
      ...again.flatMap((guest) => [`rm ${guest}`, `write ${this.#mirror(guest)} ${guest}`]),
      ...[...round.removed, ...anew.map(({ guest }) => guest)].map((guest) => `rm ${guest}`),
      ...[...round.added, ...anew].map(({ host, guest }) => `write ${host} ${guest}`),
    ].join('\n');
    run('debugfs', ['-w', '-f', '-', this.path], `${commands}\n`);
  }
}

/** True when e2fsck finds nothing wrong with an ext4 image. */
export const isSound = (path: string): boolean =>
  spawnSync('e2fsck', ['-f', '-n', path], { env: ENV }).status === 0;
