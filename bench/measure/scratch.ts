// The one folder everything is made in. It goes when the benchmark ends, also by Ctrl-C, and with it
// every process that is still at work there.

import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';

const STOPPING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** A shell's way to say that a signal ended a program. */
const SIGNAL_EXIT = 128;

export class Scratch {
  readonly folder: string;
  readonly #running = new Set<ChildProcess>();

  /** Makes a folder in `dir`, and sees to its end. */
  constructor(dir: string) {
    this.folder = fs.mkdtempSync(join(fs.realpathSync(dir), 'nvsnap-bench-'));
    for (const signal of STOPPING) process.once(signal, () => this.#stop(signal));
    process.once('exit', () => this.remove());
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Makes an empty folder of this name. */
  folderFor(name: string): string {
    const path = this.path(name);
    fs.mkdirSync(path);
    return path;
  }

  /** Removes a file or folder, if it is there. */
  drop(name: string): void {
    fs.rmSync(this.path(name), { recursive: true, force: true });
  }

  /** Ends this process with the benchmark, should it still run. */
  adopt(child: ChildProcess): void {
    this.#running.add(child);
    child.once('close', () => this.#running.delete(child));
  }

  remove(): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  /** Waits for the processes' end, lest they go on making files. */
  #stop(signal: (typeof STOPPING)[number]): void {
    const code = SIGNAL_EXIT + constants.signals[signal];
    if (this.#running.size === 0) process.exit(code);
    for (const child of this.#running) {
      child.once('close', () => {
        if (this.#running.size === 0) process.exit(code);
      });
      child.kill('SIGKILL');
    }
  }
}
