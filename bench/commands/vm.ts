// A QEMU machine with RAM and an NVDIMM in files: how long it stands still for a point, and for savevm.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MiB } from '../../disk/index.js';
import { type PointResult, restorePoint, takePoint } from '../../vm/index.js';
import type { Job } from '../job.js';
import { checkFile, digestOf } from '../measure/check.js';
import { allocatedOf } from '../measure/files.js';
import { median } from '../measure/median.js';
import { qemuImg } from '../measure/peers.js';
import { execute } from '../measure/process.js';
import type { Runner } from '../measure/race.js';
import { makeImage } from '../workload/image.js';
import { counterOf, SLOWLY, writeTinyGuest } from '../workload/tiny-guest.js';

/** Of the image's size, so much is the machine's RAM. */
const RAM_SHARE = 1 / 4;
const PROMPT = '(qemu) ';
const STATE = 'state';
/** The point whose bytes are shown: the first that depends on another. */
const SHOWN_POINT = 2;

/** QEMU's monitor for people: savevm has no better door. */
class Monitor {
  readonly #socket: Socket;
  #heard = '';

  private constructor(path: string) {
    this.#socket = createConnection({ path });
    this.#socket.setEncoding('utf8').on('data', (text: string) => (this.#heard += text));
  }

  static async open(path: string): Promise<Monitor> {
    const monitor = new Monitor(path);
    await monitor.#prompt();
    return monitor;
  }

  async #prompt(): Promise<string> {
    while (!this.#heard.endsWith(PROMPT)) await once(this.#socket, 'data');
    const said = this.#heard;
    this.#heard = '';
    return said;
  }

  /** Resolves to the milliseconds that a command took; rejects when it complains. */
  async time(command: string): Promise<number> {
    const began = performance.now();
    this.#socket.write(`${command}\n`);
    const said = await this.#prompt();
    const took = performance.now() - began;
    if (/Error/.test(said)) throw new Error(`QEMU does not ${command}: ${said}`);
    return took;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Bytes that a point has added to its stores. */
const addedBy = ({ regions, state }: PointResult): number =>
  [...regions, ...(state ? [state] : [])].reduce(
    (sum, { storedBytes, metadataBytes }) => sum + storedBytes + metadataBytes,
    0,
  );

/** A machine with all its files in one folder. */
export class Machine {
  readonly #job: Job;
  readonly #folder: string;
  readonly #ram: number;
  #qemu: ChildProcess | undefined;

  constructor(job: Job, folder: string) {
    this.#job = job;
    this.#folder = folder;
    this.#ram = Math.ceil((job.options.size * RAM_SHARE) / MiB) * MiB;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  get #memory() {
    return {
      ram: this.#path('ram.img'),
      first: this.#path('data.img'),
      second: this.#path('data.img'),
    };
  }

  get #states(): string {
    return this.#path('vmstate.qcow2');
  }

  async start(): Promise<void> {
    const { options, scratch } = this.#job;
    const { ram, first } = this.#memory;
    const { size, seed, content } = options;
    await makeImage({ path: first, size, seed, content });
    await makeImage({ path: ram, size: this.#ram, seed: seed + 1, content });
    writeTinyGuest(this.#path('firmware'));
    await execute(scratch, qemuImg('create', '-q', '-f', 'qcow2', this.#states, '1G'));
    const shared = (id: string, path: string, bytes: number): string[] => [
      '-object',
      `memory-backend-file,id=${id},mem-path=${path},size=${bytes},share=on`,
    ];
    const maximum = size + this.#ram + 2 ** 30;
    const qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-display', 'none', '-nodefaults', ...SLOWLY, '-bios', this.#path('firmware')],
        ...['-machine', 'pc,nvdimm=on,accel=tcg,memory-backend=ram'],
        ...['-m', `${this.#ram / MiB}M,slots=1,maxmem=${Math.ceil(maximum / MiB)}M`],
        ...shared('ram', ram, this.#ram),
        ...shared('data', first, size),
        ...['-device', 'nvdimm,id=nv,memdev=data'],
        // What a removed state had goes back to the file system.
        ...['-drive', `if=none,id=vmstate,format=qcow2,discard=unmap,file=${this.#states}`],
        ...['-qmp', `unix:${this.#path('qmp')},server=on,wait=off`],
        ...['-monitor', `unix:${this.#path('monitor')},server=on,wait=off`],
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

  #take(tag: string): Promise<PointResult> {
    return takePoint({
      qmp: this.#path('qmp'),
      stores: this.#path('points'),
      tag,
      dirty: 'reflink',
    });
  }

  /** Takes `perRound` points in a round, and is as long as the median of their pauses by QEMU's clock. */
  points(perRound: number): Runner {
    let taken = 0;
    let added: number | undefined;
    return {
      name: 'nvsnap',
      work: undefined,
      run: async () => {
        const pauses: number[] = [];
        for (let i = 0; i < perRound; i += 1) {
          taken += 1;
          const point = await this.#take(`point-${taken}`);
          if (point.pauseMs === null) throw new Error('the machine was not stopped');
          pauses.push(point.pauseMs);
          if (taken === SHOWN_POINT) added = addedBy(point);
        }
        return median(pauses);
      },
      made: () => added,
    };
  }

  /** The same with savevm: one state in a round, and none beside it. */
  states(): Runner {
    let added: number | undefined;
    return {
      name: 'savevm',
      work: undefined,
      run: async (round) => {
        const monitor = await Monitor.open(this.#path('monitor'));
        if (round > 1) await monitor.time(`delvm ${STATE}`);
        const before = allocatedOf(this.#states);
        const milliseconds = await monitor.time(`savevm ${STATE}`);
        added = allocatedOf(this.#states) - before;
        monitor.close();
        return milliseconds;
      },
      made: () => added,
    };
  }

  /** Stops it, and holds what is restored of a last point against what it has; resolves to the digest. */
  async check(): Promise<string> {
    const monitor = await Monitor.open(this.#path('monitor'));
    await monitor.time('stop');
    monitor.close();
    await this.#take('still');
    await restorePoint({ stores: this.#path('points'), tag: 'still', to: this.#path('again') });
    const { ram, first } = this.#memory;
    return digestOf(
      await checkFile('nvsnap vm take', ram, this.#path('again/ram.img')),
      await checkFile('nvsnap vm take', first, this.#path('again/data.img')),
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
