// The time in which the machine stands still. Whatever happens in it, at its end the machine goes on as before: its run
// state, and what was set for the migration. If we do not get to that, the watchdog does.

import { Fault, fault, reasonOf } from '../disk/index.js';
import type { Address } from './address.js';
import { Guard } from './guard.js';
import type { Machine } from './machine.js';
import { changeSettings, endMigration, restoreSettings, type Settings } from './migration.js';
import { isAlive } from './process.js';
import { Qmp, type QmpEvent } from './qmp.js';

/** So long a migration may take to end when it is no longer wanted. */
const CANCEL_MS = 5_000;
/** A machine that was paused for the whole limit may be told to go on by the watchdog; that it is, is looked for. */
const WENT_ON = 'somebody told it to go on, perhaps the watchdog when --max-pause was over';

/** Run states in which a machine stands still and can go on. */
const STILL: ReadonlySet<string> = new Set(['paused', 'prelaunch', 'postmigrate']);

export interface PauseOptions {
  readonly qmp: Qmp;
  readonly address: Address;
  readonly machine: Machine;
  readonly settings: Settings;
  readonly maxPauseMs: number;
  /** A folder that the watchdog removes when we are gone; null for none. */
  readonly litter: string | null;
  /** Path of the watchdog's log. */
  readonly log: string;
  /** Told of each step, as it begins. */
  readonly onStep: (step: 'stopping' | 'continuing' | 'continued') => void;
}

/** Refuses a machine that can neither be stopped nor stands still. */
export const checkStatus = ({ status, running, address }: Machine): void => {
  if (running || STILL.has(status)) return;
  throw fault('vm-unsuitable', {
    problem: `The machine at ${address} is in the state ${JSON.stringify(status)}.`,
    advice: 'It must run, or be paused.',
  });
};

export class Pause {
  readonly #options: PauseOptions;
  readonly #guard: Guard;
  readonly #unlisten: () => void;
  /** Of the last STOP and RESUME, by QEMU's clock. */
  #stoppedAt: number | undefined;
  #resumedAt: number | undefined;
  #begun = false;
  readonly #wentOn = new AbortController();

  private constructor(options: PauseOptions, guard: Guard) {
    this.#options = options;
    this.#guard = guard;
    this.#unlisten = options.qmp.onEvent((event) => this.#hear(event));
  }

  /** Posts the watchdog and makes the settings; the machine still runs. */
  static async prepare(options: PauseOptions): Promise<Pause> {
    const { qmp, address, machine, settings, maxPauseMs, log, litter } = options;
    const { running, pid } = machine;
    const owner = process.pid;
    const order = { address, pid, owner, running, settings, maxPauseMs, litter };
    const pause = new Pause(options, await Guard.post(qmp, log, order));
    try {
      await changeSettings(qmp, settings);
      return pause;
    } catch (error) {
      await pause.end();
      throw error;
    }
  }

  #hear({ event, atMs }: QmpEvent): void {
    if (event === 'STOP') this.#stoppedAt = atMs;
    if (event !== 'RESUME') return;
    this.#resumedAt = atMs;
    if (this.#begun) this.#wentOn.abort(fault('vm-resumed', { by: WENT_ON }));
  }

  /** Aborted when the machine goes on by itself: then what reads its memory has nothing left to do. */
  get signal(): AbortSignal {
    return this.#wentOn.signal;
  }

  /** Stops the machine. */
  async begin(): Promise<void> {
    const { qmp, machine, onStep } = this.#options;
    onStep('stopping');
    await this.#guard.begin();
    this.#resumedAt = undefined;
    this.#begun = true;
    if (machine.running) await qmp.execute('stop');
    await this.check();
  }

  /** Refuses when the machine has gone on meanwhile: what was read is then not of one moment. */
  async check(): Promise<void> {
    // Events come before the answer to what was asked after them.
    const { running, status } = await this.#options.qmp.execute('query-status');
    if (this.#resumedAt !== undefined || running) throw fault('vm-resumed', { by: WENT_ON });
    if (!STILL.has(status)) throw fault('vm-resumed', { by: `it is in the state ${status} now` });
  }

  /**
   * Lets the machine go on, and puts back what was set. Resolves to the milliseconds that it stood still; null when it
   * did so before, or is gone. Rejects when QEMU is there and cannot be told: then the watchdog is left to try.
   */
  async end(): Promise<number | null> {
    const { qmp, machine, onStep } = this.#options;
    const begun = this.#begun;
    this.#begun = false;
    onStep('continuing');
    try {
      await this.#goOn(qmp).catch((error: unknown) => {
        // A peer that is silent serves nobody else either; one that has hung up may.
        if (!qmp.isClosed) throw error;
        return this.#goOnAnew();
      });
      await this.#guard.dismiss();
    } catch (error) {
      if (!isGone(error, machine)) {
        this.#guard.leave();
        const reason = reasonOf(error).replace(/\.$/, '');
        if (begun) throw fault('vm-stuck', { address: qmp.address, reason }, error);
        return null;
      }
      await this.#guard.dismiss();
      return null;
    } finally {
      this.#unlisten();
    }
    onStep('continued');
    const [from, to] = [this.#stoppedAt, this.#resumedAt];
    return machine.running && from !== undefined && to !== undefined ? to - from : null;
  }

  async #goOn(qmp: Qmp): Promise<void> {
    const { machine, settings } = this.#options;
    const { status = 'none' } = await qmp.execute('query-migrate');
    if (!SETTLED.has(status)) await endMigration(qmp, CANCEL_MS);
    if (machine.running) await qmp.execute('cont');
    await restoreSettings(qmp, settings);
    // The event of its going on is here before this answer.
    await qmp.execute('query-status');
  }

  /** On a connection of its own, where the other one is dead or its peer silent. */
  async #goOnAnew(): Promise<void> {
    const { address } = this.#options;
    const fresh = await Qmp.connect(address, { answerMs: CANCEL_MS });
    try {
      await this.#goOn(fresh);
    } finally {
      fresh.close();
    }
  }
}

const SETTLED: ReadonlySet<string> = new Set(['none', 'completed', 'failed', 'cancelled']);

/** True when QEMU is no longer there: then there is nothing to go on. */
const isGone = (error: unknown, { pid }: Machine): boolean =>
  (pid !== null && !isAlive(pid)) || (error instanceof Fault && error.code === 'qmp-unreachable');
