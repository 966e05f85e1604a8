// A real QEMU with the tiny guest in it, two NVDIMMs and RAM in files, and a QMP socket.

import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import {
  counterOf,
  FIRST_BYTES,
  type Memory,
  RAM_BYTES,
  SECOND_BYTES,
  SLOWLY,
  writeTinyGuest,
} from '../../bench/index.js';
import { parseAddress } from '../../vm/address.js';
import { Qmp } from '../../vm/qmp.js';
import { type Running, start } from '../tools/nvsnap.js';

export interface TinyMachine {
  readonly socket: string;
  readonly memory: Memory;
  readonly running: Running;
  readonly pid: number;
  /** Asks it on a connection of its own; nobody else may have one meanwhile. */
  ask<T>(use: (qmp: Qmp) => Promise<T>): Promise<T>;
  /** Resolves when it has counted on. */
  counts(): Promise<void>;
  /** Ends it. */
  kill(): Promise<void>;
}

export interface TinyOptions {
  readonly name?: string;
  /** More words for QEMU. */
  readonly extra?: readonly string[];
  /** In place of those that lie in the folder. */
  readonly memory?: Memory;
  readonly incoming?: boolean;
  /** Changes the words for QEMU. */
  readonly change?: (words: string[]) => string[];
}

export const memoryIn = (folder: string): Memory => ({
  ram: join(folder, 'ram.img'),
  first: join(folder, 'first.img'),
  second: join(folder, 'second.img'),
});

const makeMemory = ({ ram, first, second }: Memory): void => {
  const sizes = [RAM_BYTES, FIRST_BYTES, SECOND_BYTES];
  for (const [i, path] of [ram, first, second].entries()) {
    if (fs.existsSync(path)) continue;
    fs.writeFileSync(path, '');
    fs.truncateSync(path, sizes[i]);
  }
};

const backend = (id: string, path: string, bytes: number): string =>
  `memory-backend-file,id=${id},mem-path=${path},size=${bytes},share=on`;

const wordsFor = (folder: string, memory: Memory, socket: string, options: TinyOptions) => [
  ...SLOWLY,
  ...['-display', 'none', '-nodefaults', '-bios', join(folder, 'firmware')],
  ...['-machine', 'pc,nvdimm=on,accel=tcg,memory-backend=ram', '-m', '16M,slots=2,maxmem=1G'],
  ...['-object', backend('ram', memory.ram, RAM_BYTES)],
  ...['-object', backend('first', memory.first, FIRST_BYTES)],
  ...['-device', 'nvdimm,id=nv-first,memdev=first'],
  ...['-object', backend('second', memory.second, SECOND_BYTES)],
  ...['-device', 'nvdimm,id=nv-second,memdev=second'],
  ...['-qmp', `unix:${socket},server=on,wait=off`],
  ...(options.incoming ? ['-incoming', 'defer'] : []),
  ...(options.extra ?? []),
];

/** Starts one in a folder; it ends with the test. */
export const tinyMachine = async (
  t: Test,
  folder: string,
  options: TinyOptions = {},
): Promise<TinyMachine> => {
  const socket = join(folder, `${options.name ?? 'qmp'}.sock`);
  const memory = options.memory ?? memoryIn(folder);
  makeMemory(memory);
  writeTinyGuest(join(folder, 'firmware'));
  const words = wordsFor(folder, memory, socket, options);
  const running = start('qemu-system-x86_64', options.change?.(words) ?? words);
  const last = (): void => {
    running.child.kill('SIGKILL');
  };
  const kill = async (): Promise<void> => {
    last();
    await running.ended;
    process.off('exit', last);
  };
  process.once('exit', last);
  t.teardown(kill);
  const ask = async <T>(use: (qmp: Qmp) => Promise<T>): Promise<T> => {
    const qmp = await Qmp.connect(parseAddress(socket), { waitMs: 10_000 });
    try {
      return await use(qmp);
    } finally {
      qmp.close();
    }
  };
  const machine: TinyMachine = {
    socket,
    memory,
    running,
    pid: running.child.pid as number,
    ask,
    counts: async () => {
      const before = counterOf(memory);
      while (counterOf(memory) < before + 50) {
        if (running.child.exitCode !== null) throw new Error((await running.ended).stderr);
        await sleep(5);
      }
    },
    kill,
  };
  if (!options.incoming) await machine.counts();
  return machine;
};
