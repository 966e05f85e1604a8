// What a point is asked for, and what it says it is.

import { type Fault, fault } from '../disk/index.js';
import type { Pools, SourceRequest, TakeOptions, TakeResult } from '../snapshot/index.js';
import type { MachineEmitter } from './events.js';
import type { Machine } from './machine.js';
import type { Freeze, State } from './plan.js';
import { checkPointTag } from './points.js';

export const DEFAULT_MAX_PAUSE_MS = 10_000;

export interface PointOptions extends Pick<TakeOptions, 'clusterSize' | 'compression' | 'level'> {
  /** Where QEMU listens: a path, or a port of this machine. */
  readonly qmp: string;
  /** Folder of the machine's points; made when it does not exist. */
  readonly stores: string;
  /** Default: made from the time. */
  readonly tag?: string | undefined;
  /** Default: "device". */
  readonly state?: State | undefined;
  /** Default: "reflink". */
  readonly freeze?: Freeze | undefined;
  /** Dirty sources, as of a take: for all regions, or for some by id. Default: "scan". */
  readonly dirty?: string | SourceRequest | Readonly<Record<string, string>> | undefined;
  /** A shell command that runs while the machine stands still. */
  readonly whilePaused?: string | undefined;
  /** Milliseconds after which the watchdog lets the machine go on. Default: 10000. */
  readonly maxPauseMs?: number | undefined;
  /** Where that runs; default: the process's folder. */
  readonly folder?: string | undefined;
  readonly memory?: number | undefined;
  /** Threads that others use as well; left out: its own. */
  readonly pools?: Pools | undefined;
  readonly events?: MachineEmitter | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A point that was taken. Sizes in bytes, times in milliseconds. */
export interface PointResult {
  readonly stores: string;
  readonly tag: string;
  readonly uuid: string;
  readonly consistent: boolean;
  readonly pauseMs: number | null;
  readonly regions: readonly (TakeResult & { readonly region: string })[];
  readonly state: TakeResult | null;
  readonly storedBytes: number;
  readonly elapsedMs: number;
}

/** The options with their defaults. */
export const withDefaults = (options: PointOptions) => ({
  ...options,
  state: options.state ?? 'device',
  freeze: options.freeze ?? 'reflink',
  maxPauseMs: options.maxPauseMs ?? DEFAULT_MAX_PAUSE_MS,
});
export type AskedPoint = ReturnType<typeof withDefaults>;

/** What says which parts of a region may have changed. */
export const dirtyOf = ({ dirty = 'scan' }: PointOptions, id: string): string | SourceRequest =>
  isForAll(dirty) ? dirty : (dirty[id] ?? 'scan');

/** True for one source that all regions are asked for. */
const isForAll = (dirty: NonNullable<PointOptions['dirty']>): dirty is string | SourceRequest =>
  typeof dirty === 'string' || ('spec' in dirty && 'folder' in dirty);

const usage = (problem: string, advice: string): Fault => fault('usage', { problem, advice });

/** Refuses what does not go together. */
export const checkOptions = (options: PointOptions): void => {
  const { tag, freeze, state = 'device', whilePaused, maxPauseMs } = options;
  if (tag !== undefined) checkPointTag(tag);
  if (freeze === 'none' && state === 'device') {
    throw usage(
      'A device state belongs to memory of the same moment, and --freeze none reads it while the machine runs.',
      'Add --state none, or leave --freeze out.',
    );
  }
  if (freeze === 'none' && whilePaused !== undefined) {
    throw usage('With --freeze none there is no pause.', 'Leave --while-paused or --freeze out.');
  }
  if (maxPauseMs !== undefined && !(maxPauseMs > 0 && maxPauseMs < 2 ** 31)) {
    throw usage(`A pause of at most ${maxPauseMs} ms is not possible.`, 'Give a time, as in 10s.');
  }
};

/** A dirty source for a region that is not there is a slip. */
export const checkDirty = ({ dirty }: PointOptions, machine: Machine): void => {
  if (dirty === undefined || isForAll(dirty)) return;
  const unknown = Object.keys(dirty).find((id) => !machine.regions.some((each) => each.id === id));
  if (unknown === undefined) return;
  const known = machine.regions.map(({ id }) => id).join(', ');
  throw usage(
    `The machine has no memory backend ${JSON.stringify(unknown)}.`,
    `Give a dirty source for one of: ${known}.`,
  );
};
