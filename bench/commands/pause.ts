// How long a machine stands still for a point, with its RAM and devices, by QEMU's own clock; beside savevm of the same
// machine. On each file system that makes clones, in a file: that needs root.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MiB } from '../../disk/index.js';
import { restorePoint, takePoint } from '../../vm/index.js';
import type { Job } from '../job.js';
import { checkFile, digestOf } from '../measure/check.js';
import { type Laps, type Result, resultOf } from '../result.js';
import { makeImage } from '../workload/image.js';
import { counterOf, SLOWLY, writeTinyGuest } from '../workload/tiny-guest.js';

const FILE_SYSTEMS = ['xfs', 'btrfs'] as const;
const TAKES = 50;
/** In a benchmark that is small itself there are fewer. */
const SMALL_BENCH = 128 * MiB;
const FEW = 3;
/** Of the image's size, so much is the machine's RAM. */
const RAM_SHARE = 1 / 4;
/** The image, RAM, their stores, two states of savevm and what is restored. */
const DISK_SHARE = 8;
const LEAST_DISK = 640 * MiB;
/** savevm writes all memory while the machine stands still. */
const GOAL = 5;
const PROMPT = '(qemu) ';

const run = (program: string, ...args: string[]): boolean =>
  spawnSync(program, args, { stdio: 'ignore' }).status === 0;

/** QEMU's monitor for people: savevm has no better door. */
class Monitor {
  readonly #socket: Socket;
  #heard = '';

  constructor(path: string) {
    this.#socket = createConnection({ path });
    this.#socket.setEncoding('utf8').on('data', (text: string) => (this.#heard += text));
  }

  async prompt(): Promise<string> {
    while (!this.#heard.endsWith(PROMPT)) await once(this.#socket, 'data');
    const said = this.#heard;
    this.#heard = '';
    return said;
  }

  /** Resolves to the milliseconds that a command took; rejects when it complains. */
  async time(command: string): Promise<number> {
    const began = performance.now();
    this.#socket.write(`${command}\n`);
    const said = await this.prompt();
    const took = performance.now() - began;
    if (/Error/.test(said)) throw new Error(`QEMU does not ${command}: ${said}`);
    return took;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A machine on a disk of its own. */
class Machine {
  readonly #job: Job;
  readonly #folder: string;
  readonly #ram: number;
  #qemu: ChildProcess | undefined;

  constructor(job: Job, folder: string) {
    this.#job = job;
    this.#folder = folder;
    this.#ram = Math.ceil((job.options.size * RAM_SHARE) / MiB) * MiB;
  }

  path(name: string): string {
    return join(this.#folder, name);
  }

  get #memory() {
    return {
      ram: this.path('ram.img'),
      first: this.path('data.img'),
      second: this.path('data.img'),
    };
  }

  async start(): Promise<void> {
    const { options, scratch } = this.#job;
    const { ram, first } = this.#memory;
    const { size, seed, content } = options;
    await makeImage({ path: first, size, seed, content });
    await makeImage({ path: ram, size: this.#ram, seed: seed + 1, content });
    writeTinyGuest(this.path('firmware'));
    if (!run('qemu-img', 'create', '-q', '-f', 'qcow2', this.path('vmstate.qcow2'), '1G')) {
      throw new Error('qemu-img create failed');
    }
    const shared = (id: string, path: string, size: number): string[] => [
      '-object',
      `memory-backend-file,id=${id},mem-path=${path},size=${size},share=on`,
    ];
    const maximum = options.size + this.#ram + 2 ** 30;
    const qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-display', 'none', '-nodefaults', ...SLOWLY, '-bios', this.path('firmware')],
        ...['-machine', 'pc,nvdimm=on,accel=tcg,memory-backend=ram'],
        ...['-m', `${this.#ram / MiB}M,slots=1,maxmem=${Math.ceil(maximum / MiB)}M`],
        ...shared('ram', ram, this.#ram),
        ...shared('data', first, options.size),
        ...['-device', 'nvdimm,id=nv,memdev=data'],
        ...['-drive', `if=none,id=vmstate,format=qcow2,file=${this.path('vmstate.qcow2')}`],
        ...['-qmp', `unix:${this.path('qmp')},server=on,wait=off`],
        ...['-monitor', `unix:${this.path('monitor')},server=on,wait=off`],
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    scratch.adopt(qemu);
    this.#qemu = qemu;
    const before = counterOf(this.#memory);
    while (counterOf(this.#memory) === before) {
      if (qemu.exitCode !== null) throw new Error('QEMU could not be started');
      await sleep(10);
    }
  }

  /** Takes points; the bytes are those that the second one has added. */
  async points(): Promise<Laps> {
    const stores = this.path('points');
    const count = this.#job.options.size < SMALL_BENCH ? FEW : TAKES;
    const milliseconds: number[] = [];
    const sizes: number[] = [];
    for (let i = 1; i <= count; i += 1) {
      const point = await takePoint({
        qmp: this.path('qmp'),
        stores,
        tag: `point-${i}`,
        dirty: 'reflink',
      });
      if (point.pauseMs === null) throw new Error('the machine was not stopped');
      milliseconds.push(point.pauseMs);
      sizes.push(
        [...point.regions, ...(point.state ? [point.state] : [])].reduce(
          (sum, { storedBytes, metadataBytes }) => sum + storedBytes + metadataBytes,
          0,
        ),
      );
    }
    return { name: 'nvsnap', milliseconds, work: undefined, made: sizes[1] };
  }

  /** The same with savevm. */
  async states(): Promise<Laps> {
    const monitor = new Monitor(this.path('monitor'));
    const size = (): number => fs.statSync(this.path('vmstate.qcow2')).blocks * 512;
    const milliseconds: number[] = [];
    let bytes = 0;
    await monitor.prompt();
    for (let i = 1; i <= 2; i += 1) {
      const before = size();
      milliseconds.push(await monitor.time(`savevm state-${i}`));
      bytes = size() - before;
    }
    monitor.close();
    return { name: 'savevm', milliseconds, work: undefined, made: bytes };
  }

  /** The last point restored must be what the machine had when it ended, if it stood still since. */
  async check(): Promise<string> {
    const stores = this.path('points');
    const monitor = new Monitor(this.path('monitor'));
    await monitor.prompt();
    await monitor.time('stop');
    monitor.close();
    await takePoint({ qmp: this.path('qmp'), stores, tag: 'still', dirty: 'reflink' });
    await restorePoint({ stores, tag: 'still', to: this.path('again') });
    const { ram, first } = this.#memory;
    return digestOf(
      await checkFile('nvsnap vm take', ram, this.path('again/ram.img')),
      await checkFile('nvsnap vm take', first, this.path('again/data.img')),
    );
  }

  async end(): Promise<void> {
    const qemu = this.#qemu;
    if (!qemu || qemu.exitCode !== null) return;
    const ended = once(qemu, 'exit');
    qemu.kill('SIGKILL');
    await ended;
  }
}

const measure = async (job: Job, type: string, folder: string): Promise<Result> => {
  const subject = new Machine(job, folder);
  try {
    job.say(`a machine on ${type}`);
    await subject.start();
    const points = await subject.points();
    const states = await subject.states();
    const digest = await subject.check();
    return resultOf(
      { level: 'commands', case: 'pause' },
      {
        title: `the pause for a point with RAM and devices, on ${type}, beside that for savevm`,
        laps: [points, states],
        verified: ['nvsnap'],
        digest,
      },
      [{ beside: 'savevm', ratio: GOAL }],
    );
  } finally {
    await subject.end();
  }
};

export const pause = async (job: Job): Promise<readonly Result[]> => {
  const { scratch, options, say } = job;
  const results: Result[] = [];
  for (const type of FILE_SYSTEMS) {
    const [file, folder] = [scratch.path(`${type}.disk`), scratch.path(type)];
    fs.writeFileSync(file, '');
    fs.truncateSync(file, Math.max(LEAST_DISK, options.size * DISK_SHARE));
    fs.mkdirSync(folder);
    if (!run(`mkfs.${type}`, '-q', file) || !run('mount', '-o', 'loop', file, folder)) {
      say(`pause on ${type} is left out: nothing can be mounted here`);
      continue;
    }
    const leave = (): void => {
      run('umount', '--lazy', folder);
    };
    // Before the folder goes that it is mounted in.
    process.prependOnceListener('exit', leave);
    try {
      results.push(await measure(job, type, folder));
    } finally {
      process.off('exit', leave);
      leave();
      scratch.drop(`${type}.disk`);
    }
  }
  return results;
};
