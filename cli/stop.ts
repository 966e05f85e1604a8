// SIGINT and SIGTERM end a command in good order: the run is cancelled, the store stays as it was.
// A second signal ends it at once.

import { Fault } from '../snapshot/index.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** What also ends a command that has promised to set something going again. */
const ALL_SIGNALS = [...SIGNALS, 'SIGHUP'] as const;

const untilSignal = async <T>(
  names: readonly NodeJS.Signals[],
  work: (signal: AbortSignal) => Promise<T>,
  onSecond: () => void,
): Promise<T> => {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) onSecond();
    else controller.abort(new Fault({ code: 'cancelled', details: { by: name } }));
  };
  for (const name of names) process.on(name, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of names) process.off(name, stop);
  }
};

/** Runs `work` with an AbortSignal that the process's signals trigger. */
export const withSignals = <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> =>
  untilSignal(SIGNALS, work, () => process.exit(1));

/** As `withSignals`, for work that must come to its end: a second signal changes nothing. */
export const withPatience = <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> =>
  untilSignal(ALL_SIGNALS, work, () => {});
