// group: several stages in the same threads, one after another on each batch. A hop from pool to pool costs more than a
// light stage has to do.

import { Fault, fault, reasonOf } from '../disk/index.js';
import {
  type Batch,
  type Desk,
  type StageThread,
  type StageUse,
  stage,
} from '../pipeline/index.js';
import { closeAll, openAll, openModule } from './plug/open.js';

/** One stage of a group. */
export type Member = Pick<StageUse, 'name' | 'module' | 'options'>;

export interface GroupOptions {
  readonly members: readonly Member[];
}

/** What a member did in one thread. */
export interface MemberPart {
  readonly member: string;
  readonly micros: number;
  /** What its flush gave. */
  readonly part: unknown;
}

/** What a group said in one thread. */
export interface GroupPart {
  readonly groupMembers: readonly MemberPart[];
}

export const isGroupPart = (part: unknown): part is GroupPart =>
  typeof part === 'object' && part !== null && 'groupMembers' in part;

interface OpenMember {
  readonly name: string;
  readonly thread: StageThread;
  micros: number;
}

/** Does a member's work, and says whose fault it is when it fails. */
const guard = async <T>(name: string, offset: number, work: () => T | Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw fault('stage-failed', { stage: name, offset, reason: reasonOf(error) }, error);
  }
};

const open = async ({ members }: GroupOptions, desk: Desk): Promise<StageThread> => {
  let last = 0;
  const close = ({ name, thread }: OpenMember) => guard(name, last, () => thread.close?.());
  const opened = await openAll<Member, OpenMember>(
    members,
    async ({ name, module, options }) => {
      const thread = await guard(name, 0, () => openModule(module, options, desk));
      return { name, thread, micros: 0 };
    },
    close,
  );
  return {
    async batch(batch: Batch): Promise<void> {
      last = batch.offset;
      for (const member of opened) {
        if (batch.live === 0) return;
        const began = performance.now();
        await guard(member.name, batch.offset, () => member.thread.batch?.(batch));
        member.micros += (performance.now() - began) * 1000;
      }
    },
    async flush(): Promise<GroupPart> {
      const members: MemberPart[] = [];
      for (const { name, thread, micros } of opened) {
        const part = await guard(name, last, () => thread.flush?.());
        members.push({ member: name, micros: Math.round(micros), part });
      }
      return { groupMembers: members };
    },
    close: () => closeAll(opened, close),
  };
};

export default stage<GroupOptions>({ name: 'group', open });
