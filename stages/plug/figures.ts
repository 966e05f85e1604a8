// What users' stages have found out, summed up over their threads.

import { fault, reasonOf } from '../../disk/index.js';
import type { Gap, StageReport } from '../../pipeline/index.js';
import { isGroupPart } from '../group.js';
import type { LinkPart } from './link.js';
import type { LoadedStage } from './load.js';

/** What a stage found out. */
export interface StageSummary {
  readonly stage: string;
  readonly at: Gap;
  /** Figures and words by name. */
  readonly figures: Readonly<Record<string, string | number>>;
}

/** What the threads of a stage said, summed up by itself. */
const figuresOf = (
  { name, definition }: LoadedStage,
  parts: readonly unknown[],
): StageSummary['figures'] => {
  try {
    return definition.conclude?.(parts) ?? {};
  } catch (error) {
    throw fault('stage-failed', { stage: name, offset: 0, reason: reasonOf(error) }, error);
  }
};

const linkFigures = (stage: LoadedStage, parts: readonly LinkPart[]): StageSummary['figures'] => {
  const sum = (of: (totals: LinkPart['encode']) => number): number =>
    parts.reduce((all, { encode }) => all + of(encode), 0);
  return {
    'bytes in': sum(({ bytesIn }) => bytesIn),
    'bytes out': sum(({ bytesOut }) => bytesOut),
    milliseconds: Math.round(sum(({ micros }) => micros) / 1000),
    ...figuresOf(
      stage,
      parts.map(({ part }) => part).filter((part) => part !== undefined),
    ),
  };
};

/** What the threads of a stage said: in a pool of its own, or as a member of a group. */
const partsOf = (reports: readonly StageReport[], name: string): readonly unknown[] =>
  reports.flatMap(({ stage, parts = [] }) =>
    parts.flatMap((part) => {
      if (!isGroupPart(part)) return stage === name ? [part] : [];
      return part.groupMembers
        .filter(({ member, part: own }) => member === name && own !== undefined)
        .map(({ part: own }) => own);
    }),
  );

/** What the stages have found out, in the order in which they were asked for. */
export const concludeAll = (
  loaded: readonly LoadedStage[],
  reports: readonly StageReport[],
): StageSummary[] =>
  loaded.map((stage) => {
    const { name, at, definition } = stage;
    if (!definition.reversible) {
      return { stage: name, at, figures: figuresOf(stage, partsOf(reports, name)) };
    }
    const parts = partsOf(reports, 'compress').flat() as LinkPart[];
    const own = parts.filter((part) => part.name === name);
    return { stage: name, at, figures: linkFigures(stage, own) };
  });
