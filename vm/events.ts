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
