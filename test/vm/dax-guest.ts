// Runs in a guest with two NVDIMMs, each with a file system that is mounted with DAX. It counts in its own memory, and
// stores each number through a mapping into a page of a file on the first, then on the second; now and then it adds a row
// to a database on the first. At each step all three must agree, also when the machine has gone on from a point.

import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { mapShared, PAGE_BYTES, storeInto } from '../../disk/index.js';

const PAGES = 1024;
/** Numbers between two lines, and between two rows. */
const LINE = 500;
const ROW = 2500;

const run = (program: string, ...args: string[]): string => {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
};

const DEVICES = '/sys/bus/nd/devices';
const BIND = '/sys/bus/nd/drivers/nd_pmem';

/**
 * Has an NVDIMM's memory described to the kernel, as DAX needs it, in the guest's RAM: what "ndctl create-namespace
 * --mode=fsdax --map=mem" does.
 */
const makeDaxCapable = (number: number): void => {
  const namespace = `namespace${number}.0`;
  const seed = fs.readFileSync(`${DEVICES}/region${number}/pfn_seed`, 'utf8').trim();
  fs.writeFileSync(`${BIND}/unbind`, namespace);
  const set = (attribute: string, value: string): void =>
    fs.writeFileSync(`${DEVICES}/${seed}/${attribute}`, value);
  set('uuid', randomUUID());
  set('mode', 'ram');
  set('namespace', namespace);
  fs.writeFileSync(`${BIND}/bind`, seed);
};

/** A file on an NVDIMM, mapped. */
class Pages {
  readonly #fd: number;
  readonly #mapping: ReturnType<typeof mapShared>;
  readonly #word = Buffer.alloc(4);

  constructor(number: number, folder: string) {
    makeDaxCapable(number);
    const device = `/dev/pmem${number}`;
    run('/usr/sbin/mkfs.ext4', '-q', '-b', '4096', device);
    fs.mkdirSync(folder);
    run('mount', '-t', 'ext4', '-o', 'dax=always', device, folder);
    const path = join(folder, 'pages');
    fs.writeFileSync(path, Buffer.alloc(PAGES * PAGE_BYTES));
    this.#fd = fs.openSync(path, 'r+');
    this.#mapping = mapShared(this.#fd, 0, PAGES * PAGE_BYTES);
  }

  store(number: number): void {
    this.#word.writeUInt32LE(number);
    storeInto(this.#mapping, (number % PAGES) * PAGE_BYTES, this.#word);
  }

  has(number: number): boolean {
    fs.readSync(this.#fd, this.#word, 0, 4, (number % PAGES) * PAGE_BYTES);
    return this.#word.readUInt32LE(0) === number;
  }
}

const pages = [new Pages(0, '/first'), new Pages(1, '/second')];
if (!/ \/first ext4 \S*dax=always/.test(fs.readFileSync('/proc/mounts', 'utf8'))) {
  throw new Error('/first is not mounted with DAX');
}
const sql = (words: string): string => run('/usr/bin/sqlite3', '/first/db', words);
sql('create table t (n integer)');
for (let number = 1; ; number += 1) {
  if (!pages.every((each) => each.has(number - 1))) {
    console.log(`disagree: the pages have not ${number - 1}`);
    break;
  }
  for (const each of pages) each.store(number);
  if (number % LINE === 0) console.log(`count ${number}`);
  if (number % ROW !== 0) continue;
  const said = sql(
    `insert into t values (${number}); select count(*) from t; pragma integrity_check`,
  );
  const expected = `${number / ROW}\nok`;
  if (said !== expected) {
    console.log(`disagree: the database has ${said}, not ${expected}`);
    break;
  }
  console.log(`rows ${number / ROW}`);
}
