// What a run about a machine tells while it is under way.

import { EventEmitter } from 'node:events';
import type TypedEmitter from 'typed-emitter';
import type { Progress } from '../snapshot/index.js';

/** In this order; a machine that is not stopped goes straight to reading. */
export type Step =
  | 'looking'
  | 'preparing'
  | 'stopping'
  | 'saving-state'
  | 'freezing'
  | 'hook'
  | 'continuing'
  | 'continued'
  | 'reading'
  | 'publishing'
  | 'comparing'
  | 'loading';

export type MachineEvents = {
  step: (step: Step) => void;
  /** One region's own progress; "state" for the device state. */
  progress: (region: string, progress: Progress) => void;
  /** Something to know that stops nothing. */
  notice: (sentence: string) => void;
};

export type MachineEmitter = TypedEmitter.default<MachineEvents>;

export const createMachineEmitter = (): MachineEmitter => new EventEmitter() as MachineEmitter;

/** The progress of all regions of a run, added up. */
export class ProgressSum {
  readonly #regions = new Map<string, Progress>();

  add(
    region: string,
    progress: Progress,
  ): Pick<Progress, 'doneBytes' | 'totalBytes' | 'bytesPerSecond' | 'etaSeconds'> {
    this.#regions.set(region, progress);
    const all = [...this.#regions.values()];
    const sum = (of: (progress: Progress) => number): number =>
      all.reduce((total, each) => total + of(each), 0);
    const [doneBytes, totalBytes] = [sum((p) => p.doneBytes), sum((p) => p.totalBytes)];
    const bytesPerSecond = sum((p) => p.bytesPerSecond);
    const etaSeconds = bytesPerSecond > 0 ? (totalBytes - doneBytes) / bytesPerSecond : undefined;
    return { doneBytes, totalBytes, bytesPerSecond, etaSeconds };
  }
}
