// SIGINT and SIGTERM end a command in good order: the run is cancelled, the store stays as it was.
// A second signal ends it at once.

import { Fault } from '../snapshot/index.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Runs `work` with an AbortSignal that the process's signals trigger. */
export const withSignals = async <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(1);
    controller.abort(new Fault({ code: 'cancelled', details: { by: name } }));
  };
  for (const name of SIGNALS) process.on(name, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of SIGNALS) process.off(name, stop);
  }
};

/** What also ends a command that has promised to set something going again. */
const ALL_SIGNALS = [...SIGNALS, 'SIGHUP'] as const;

/** As `withSignals`, for work that must come to its end: a second signal changes nothing. */
export const withPatience = async <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals): void =>
    controller.abort(new Fault({ code: 'cancelled', details: { by: name } }));
  for (const name of ALL_SIGNALS) process.on(name, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of ALL_SIGNALS) process.off(name, stop);
  }
};
