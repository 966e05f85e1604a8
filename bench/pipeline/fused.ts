// fused: several stages as one, in one call of one thread. Payloads get their places here, as the step between compress
// and write gives them in a line.

import {
  type Batch,
  type Desk,
  type Stage,
  type StageThread,
  stage,
} from '../../pipeline/index.js';
import { giveSpace } from './space.js';

/** A stage that is part of it. */
export interface FusedPart {
  /** URL of its module. */
  readonly module: string;
  readonly options: unknown;
}

const open = async (parts: readonly FusedPart[], desk: Desk): Promise<StageThread> => {
  const threads: StageThread[] = [];
  for (const { module, options } of parts) {
    const { default: part } = (await import(module)) as { default: Stage };
    threads.push(await part.open(options, desk));
  }
  return {
    async batch(batch: Batch) {
      for (const thread of threads) {
        if (thread === threads.at(-1)) giveSpace(batch);
        await thread.batch?.(batch);
      }
    },
  };
};

export default stage<readonly FusedPart[]>({ name: 'fused', open });
