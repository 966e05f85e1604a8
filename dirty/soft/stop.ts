// Stops a process for a moment. A store between the reading of its marks and their clearing would be lost.
//
// By ptrace(2) and not by SIGSTOP: when the one that stopped it is killed, the kernel lets a traced process go, and
// a stopped one stays stopped for good.

import fs from 'node:fs';
import {
  interruptThread,
  releaseThread,
  seizeThread,
  type ThreadState,
  threadState,
} from '../../disk/index.js';
import { stateOf } from './process.js';

/** A thread in a system call that cannot be interrupted does not stop; the others wait for it no longer. */
const PATIENCE_MS = 1000;
const PAUSE_MS = 1;
const EPERM = 1;
const LATER_MS = 20;

/** Why a process could not be stopped: the end of a sentence. */
export class Unstoppable extends Error {
  override readonly name = 'Unstoppable';
}

/** States of threads that run no more; undefined for one that is gone. */
const ENDED: ReadonlySet<string | undefined> = new Set([undefined, 'Z', 'X']);

const pause = (ms: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
};

const threadsOf = (pid: number): number[] => fs.readdirSync(`/proc/${pid}/task`).map(Number);

const tracerOf = (pid: number, thread: number): string | undefined => {
  const status = fs.readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
  const [, tracer] = /^TracerPid:\s*([1-9]\d*)$/m.exec(status) ?? [];
  return tracer;
};

class Stopped {
  readonly #pid: number;
  readonly #threads = new Map<number, ThreadState>();

  constructor(pid: number) {
    this.#pid = pid;
  }

  #seize(thread: number): void {
    const errno = seizeThread(thread);
    if (errno === 0) {
      this.#threads.set(thread, { kind: 'running' });
      interruptThread(thread);
      return;
    }
    if (ENDED.has(stateOf(this.#pid, thread))) {
      this.#threads.set(thread, { kind: 'gone' });
      return;
    }
    const tracer = tracerOf(this.#pid, thread);
    if (tracer !== undefined) {
      throw new Unstoppable(`process ${this.#pid} is being traced by process ${tracer}`);
    }
    // Workers of the kernel's within the process cannot be stopped by anybody.
    throw new Unstoppable(
      errno === EPERM
        ? `process ${this.#pid} cannot be stopped by who lacks CAP_SYS_PTRACE, or its thread ${thread} not at all`
        : `thread ${thread} of process ${this.#pid} cannot be stopped (errno ${errno})`,
    );
  }

  /** Looks at those that still run; true when there are none. */
  #settle(): boolean {
    let all = true;
    for (const [thread, { kind }] of this.#threads) {
      if (kind !== 'running') continue;
      const state = threadState(thread);
      this.#threads.set(thread, state);
      if (state.kind === 'running') all = false;
    }
    return all;
  }

  /** Stops all threads, also those that others begin meanwhile. */
  stop(): void {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const fresh = threadsOf(this.#pid).filter((thread) => !this.#threads.has(thread));
      for (const thread of fresh) this.#seize(thread);
      if (this.#settle() && fresh.length === 0) break;
      if (performance.now() > end) {
        throw new Unstoppable(`process ${this.#pid} does not stop within ${PATIENCE_MS} ms`);
      }
      if (fresh.length === 0) pause(PAUSE_MS);
    }
    if (![...this.#threads.values()].some(({ kind }) => kind === 'stopped')) {
      throw new Unstoppable(`process ${this.#pid} has ended`);
    }
  }

  /** Lets all go that have stopped; true when there are no others. */
  #release(): boolean {
    this.#settle();
    for (const [thread, state] of this.#threads) {
      if (state.kind === 'running') continue;
      if (state.kind === 'stopped') releaseThread(thread, state.signal);
      this.#threads.delete(thread);
    }
    return this.#threads.size === 0;
  }

  /** Lets the process go on. A thread that has not stopped yet can be let go only when it has. */
  release(): void {
    if (this.#release()) return;
    const later = setInterval(() => {
      if (this.#release()) clearInterval(later);
    }, LATER_MS);
    later.unref();
  }
}

/** Does something while a process stands still; throws Unstoppable when it does not. */
export const whileStopped = <T>(pid: number, act: () => T): T => {
  const stopped = new Stopped(pid);
  try {
    stopped.stop();
    return act();
  } finally {
    stopped.release();
  }
};
