// Points of a real Linux guest, Debian's kernel under QEMU's software emulation, with a file system on DAX on each of two
// NVDIMMs and its RAM in a file (test/vm/dax-guest.ts is what runs there): three points while it runs, restored in
// another order on fresh QEMU processes, and each goes on. The source never notices.

import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { restorePoint, resumePoint, takePoint } from '../../vm/index.js';
import { cloneDisk } from '../tools/clone-disk.js';
import { tempDir } from '../tools/files.js';
import { makeGuest } from '../tools/guest.js';
import { start } from '../tools/nvsnap.js';
import { checkClean } from '../tools/qemu.js';

const FULL = process.env.NVSNAP_SLOW === 'full';
t.setTimeout(FULL ? 60 * 60_000 : 14 * 60_000);

const RAM_MIB = 768;
const NVDIMM_MIB = 64;
const DISK_BYTES = 8 * 2 ** 30;
const LOOK_MS = 100;
/** What the guest says before the first point, and between two; and after each return. */
const LINES = 4;

/** A machine with that guest, and what it has said. */
class Guest {
  readonly socket: string;
  readonly #console: string;
  readonly #running: ReturnType<typeof start>;

  constructor(t: Test, folder: string, name: string, memory: string, boot: readonly string[]) {
    this.socket = join(folder, `${name}.sock`);
    this.#console = join(folder, `${name}.console`);
    const backend = (id: string, mib: number): string[] => [
      '-object',
      `memory-backend-file,id=${id},mem-path=${join(memory, `${id}.img`)},size=${mib}M,share=on`,
    ];
    this.#running = start('qemu-system-x86_64', [
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-machine', 'pc,nvdimm=on,memory-backend=ram', '-accel', 'tcg,thread=multi'],
      ...['-cpu', 'max', '-smp', '2', '-m', `${RAM_MIB}M,slots=2,maxmem=4G`],
      ...backend('ram', RAM_MIB),
      ...backend('first', NVDIMM_MIB),
      ...['-device', 'nvdimm,id=nv-first,memdev=first'],
      ...backend('second', NVDIMM_MIB),
      ...['-device', 'nvdimm,id=nv-second,memdev=second'],
      ...['-serial', `file:${this.#console}`, '-qmp', `unix:${this.socket},server=on,wait=off`],
      ...boot,
    ]);
    const last = (): void => {
      this.#running.child.kill('SIGKILL');
    };
    process.once('exit', last);
    t.teardown(async () => {
      process.off('exit', last);
      await this.end();
    });
  }

  /** The numbers of its lines of one kind. */
  #said(kind: string): number[] {
    const text = fs.existsSync(this.#console) ? fs.readFileSync(this.#console, 'utf8') : '';
    if (/disagree|Error|panic/.test(text)) throw new Error(text.slice(-4000));
    return [...text.matchAll(new RegExp(`^${kind} (\\d+)\\s*$`, 'gm'))].map(([, n]) => Number(n));
  }

  get count(): number {
    return this.#said('count').at(-1) ?? 0;
  }

  /** Resolves when it has said so many more lines of each kind. */
  async goesOn(lines: number): Promise<void> {
    const [counts, rows] = [this.#said('count').length + lines, this.#said('rows').length + 1];
    while (this.#said('count').length < counts || this.#said('rows').length < rows) {
      if (this.#running.child.exitCode !== null)
        throw new Error((await this.#running.ended).stderr);
      await sleep(LOOK_MS);
    }
  }

  /** The first number that it has said. */
  get first(): number {
    return this.#said('count')[0] ?? 0;
  }

  async end(): Promise<void> {
    this.#running.child.kill('SIGKILL');
    await this.#running.ended;
  }
}

const makeFile = (path: string, mib: number): void => {
  fs.writeFileSync(path, '');
  fs.truncateSync(path, mib * 2 ** 20);
};

t.test(
  'a Linux guest with RAM, DAX and a database goes on from each of three points',
  async (t) => {
    const base = tempDir(t);
    const parts = join(base, 'parts');
    fs.mkdirSync(parts);
    const boot = makeGuest({
      folder: parts,
      program: ['test/vm/dax-guest.js'],
      modules: ['libnvdimm', 'nd_btt', 'nd_pmem', 'nfit'],
      programs: ['/usr/bin/sqlite3', '/usr/sbin/mkfs.ext4'],
    });
    const disk = cloneDisk(t, { name: 'XFS', type: 'xfs' }, DISK_BYTES);
    const folder = disk?.folder ?? base;
    if (!disk) t.comment('nothing may be mounted here: the machine stands still while it is read');
    const how = disk
      ? ({ freeze: 'reflink', dirty: 'reflink' } as const)
      : ({ freeze: 'pause', maxPauseMs: 120_000 } as const);
    makeFile(join(folder, 'ram.img'), RAM_MIB);
    for (const id of ['first', 'second']) makeFile(join(folder, `${id}.img`), NVDIMM_MIB);
    const source = new Guest(t, base, 'source', folder, boot);
    const stores = join(folder, 'points');
    const least: number[] = [];
    for (const tag of ['zero', 'one', 'two']) {
      await source.goesOn(LINES);
      least.push(source.count);
      const point = await takePoint({ qmp: source.socket, stores, tag, ...how });
      t.comment(`${tag}: ${point.pauseMs} ms, ${point.storedBytes} bytes stored`);
      t.ok(point.consistent, `${tag} is taken at ${least.at(-1)}`);
    }
    await source.goesOn(LINES);
    const end = source.count;
    await source.end();
    for (const id of ['memory/ram', 'memory/first', 'memory/second', 'state']) {
      checkClean(join(stores, `${id}.qcow2`));
    }
    for (const i of [0, 2, 1]) {
      const tag = ['zero', 'one', 'two'][i] as string;
      const to = join(folder, `again-${tag}`);
      await restorePoint({ stores, tag, to });
      const again = new Guest(t, base, tag, to, [...boot, '-incoming', 'defer']);
      t.match(await resumePoint({ qmp: again.socket, stores, tag }), { status: 'running' });
      await again.goesOn(LINES);
      t.ok(
        again.first > (least[i] as number) && again.first <= (least[i + 1] ?? end) + 1000,
        `${tag} goes on at ${again.first}`,
      );
      await again.end();
      fs.rmSync(to, { recursive: true });
    }
  },
);
