// When the next round is due: at whole multiples of the interval by the wall clock, local time.

import { setTimeout as sleep } from 'node:timers/promises';

/** The clock may be set, and a machine may sleep: it is looked at this often. */
const LOOK_MS = 30_000;

/** Milliseconds by which local time is ahead of UTC at a moment. */
const zoneOffset = (moment: number): number => -new Date(moment).getTimezoneOffset() * 60_000;

/** The first multiple of `everyMs` after `now`, both in milliseconds; those that have gone by are not made up for. */
export const nextTick = (now: number, everyMs: number, offset = zoneOffset(now)): number =>
  (Math.floor((now + offset) / everyMs) + 1) * everyMs - offset;

/** Resolves at the next multiple of the interval, or when the signal says so. */
export const waitForTick = async (everyMs: number, signal: AbortSignal | undefined) => {
  let due = nextTick(Date.now(), everyMs);
  for (;;) {
    const now = Date.now();
    if (now >= due || signal?.aborted) return;
    // A clock that was set back must not make this a long wait.
    due = Math.min(due, nextTick(now, everyMs));
    const options = signal ? { signal } : {};
    await sleep(Math.min(due - now, LOOK_MS), undefined, options).catch(() => {});
  }
};
