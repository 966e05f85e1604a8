// A process that has images mapped (mapper-child.ts), to be told what to do.

import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** Advice of madvise(2): forget the entries of the page table; write out and take back. */
export const DONT_NEED = 4;
export const PAGE_OUT = 21;

/** What such a process can be told. Images have numbers, given by who maps them. */
export type MapperOrder =
  | { readonly do: 'map'; readonly image: number; readonly path: string }
  | { readonly do: 'store'; readonly image: number; readonly at: number; readonly base64: string }
  | { readonly do: 'advise'; readonly image: number; readonly advice: number }
  | { readonly do: 'unmap' | 'lock' | 'touch'; readonly image: number }
  | { readonly do: 'race'; readonly image: number; readonly threads: number }
  | { readonly do: 'calm' | 'exec' };

const CHILD = fileURLToPath(new URL('./mapper-child.js', import.meta.url));

export class Mapper {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  constructor() {
    this.#child = spawn(process.execPath, ['--no-warnings', CHILD], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    // That it has ended is told by its answer that does not come.
    this.#child.stdin?.on('error', () => {});
    this.#lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  async tell(order: MapperOrder): Promise<void> {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
    const { value } = (await this.#answers.next()) as { value?: string };
    if (value !== 'done') throw new Error(`the mapping process says ${value}`);
  }

  map(image: number, path: string): Promise<void> {
    return this.tell({ do: 'map', image, path });
  }

  store(image: number, at: number, bytes: Uint8Array): Promise<void> {
    return this.tell({ do: 'store', image, at, base64: Buffer.from(bytes).toString('base64') });
  }

  /** Lets the process begin its program anew (execve(2)): it keeps its id, and has nothing mapped. */
  async exec(): Promise<void> {
    const memory = (): string => fs.readFileSync(`/proc/${this.pid}/auxv`, 'latin1');
    const before = memory();
    this.#child.stdin?.write(`${JSON.stringify({ do: 'exec' } satisfies MapperOrder)}\n`);
    // What it is told earlier the old program reads.
    while (memory() === before) await sleep(10);
  }

  /** Ends the process. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
