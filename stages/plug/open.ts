// Opens users' stages in a thread, and closes them.

import type { Desk, Stage, StageThread } from '../../pipeline/index.js';
import { importModule } from './import.js';

/** Opens the stage of the module at a URL with what its `parse` made. */
export const openModule = async (
  url: string,
  options: unknown,
  desk: Desk,
): Promise<StageThread> => {
  const { default: definition } = (await importModule(url)) as { default: Stage };
  const thread: unknown = await definition.open(options, desk);
  if (typeof thread === 'object' && thread !== null) return thread as StageThread;
  throw new Error(`its open returned ${thread}`);
};

/** Opens one after another, all or none: those that are open are closed when the next one fails. */
export const openAll = async <Use, Opened>(
  uses: readonly Use[],
  open: (use: Use) => Promise<Opened>,
  close: (opened: Opened) => unknown,
): Promise<Opened[]> => {
  const opened: Opened[] = [];
  try {
    for (const use of uses) opened.push(await open(use));
    return opened;
  } catch (error) {
    // What went wrong first is told.
    await closeAll(opened, close).catch(() => {});
    throw error;
  }
};

/** Closes all of them, whichever fails; rejects with the first failure. */
export const closeAll = async <Opened>(
  opened: readonly Opened[],
  close: (opened: Opened) => unknown,
): Promise<void> => {
  const closed = await Promise.allSettled(opened.map(async (each) => await close(each)));
  const failed = closed.find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
};
