// The watchdog's other end: starts the process that lets the machine go on when we do not.

import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { fault, ioFault } from '../disk/index.js';
import type { Qmp } from './qmp.js';
import type { WatchOrder } from './watch-order.js';

const SCRIPT = fileURLToPath(new URL('./watchdog.js', import.meta.url));
/** A process of Node starts in a tenth of it. */
const START_MS = 20_000;

const openLog = (path: string): number => {
  try {
    return fs.openSync(path, 'a', 0o600);
  } catch (error) {
    throw ioFault(error, path, 'open');
  }
};

export class Guard {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('error', () => {});
    child.stdin?.on('error', () => {});
    this.#lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Starts it beside a connection, which it keeps open, and gives it its order; it is on its guard from then on. */
  static async post(qmp: Qmp, log: string, order: WatchOrder): Promise<Guard> {
    const fd = openLog(log);
    try {
      const child = spawn(process.execPath, ['--no-warnings', SCRIPT], {
        // A session of its own: what ends us at the terminal does not reach it.
        detached: true,
        stdio: ['pipe', 'pipe', fd, qmp.descriptor],
      });
      const guard = new Guard(child);
      await guard.#tell(JSON.stringify(order));
      return guard;
    } finally {
      fs.closeSync(fd);
    }
  }

  async #tell(words: string): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), START_MS);
    this.#child.stdin?.write(`${words}\n`);
    const { value } = (await this.#answers.next()) as { value?: string };
    clearTimeout(timer);
    if (value === 'on guard') return;
    throw fault('vm-unsuitable', {
      problem: 'The watchdog process could not be started, so the machine was not stopped.',
      advice: 'See watchdog.log in the folder of the points.',
    });
  }

  /** The pause begins: its time runs from now on. */
  begin(): Promise<void> {
    return this.#tell('begin');
  }

  /** The machine goes on: it is no longer needed. */
  async dismiss(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    const gone = this.#child.exitCode !== null || this.#child.signalCode !== null;
    this.#child.stdin?.end('dismissed\n');
    if (!gone) await ended;
    this.#lines.close();
  }

  /** Leaves it to it: it acts when we are gone, or at once when its time is over. */
  leave(): void {
    this.#child.stdin?.end();
    this.#lines.close();
    this.#child.unref();
  }
}
