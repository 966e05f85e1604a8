// How much memory this process uses for something: its peak, which the kernel keeps, and what is still in use when the
// garbage is collected.

import fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What is written to clear_refs to have the peak begin anew (proc(5)). */
const RESET_PEAK = '5';

/** A line of /proc/self/status that is in kB, in bytes. */
const statusBytes = (name: 'VmHWM' | 'VmRSS'): number => {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(
    fs.readFileSync('/proc/self/status', 'utf8'),
  );
  if (!line) throw new Error('the system does not say how much memory was used');
  return Number(line[1]) * 1024;
};

/** The most memory that this process has had at once, in bytes. */
export const peakMemory = (): number => statusBytes('VmHWM');

/** Measures one thing after another, and keeps the one that took most. */
export class PeakMeter {
  #before = 0;
  #most = { bytes: 0, name: 'nothing' };

  begin(): void {
    fs.writeFileSync('/proc/self/clear_refs', RESET_PEAK);
    this.#before = statusBytes('VmRSS');
  }

  end(name: string): void {
    const bytes = peakMemory() - this.#before;
    if (bytes > this.#most.bytes) this.#most = { bytes, name };
  }

  /** Bytes more than there were before. */
  get most(): { readonly bytes: number; readonly name: string } {
    return this.#most;
  }
}

/** What is on its way out may be held for so many turns of the event loop. */
const LAST_TURNS = 5;

/** Bytes that are in use when the garbage is collected: objects and buffers. */
export const bytesInUse = async (): Promise<number> => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let turn = 0; turn < LAST_TURNS; turn += 1) {
    await setImmediate();
    collect();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};
