// Opens a user's stage in a thread.

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
