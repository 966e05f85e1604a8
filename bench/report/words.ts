// What the stages' figures mean, in words.

import type { StageReport } from '../../pipeline/index.js';
import type { Insight } from '../result.js';

/** A stage that is busy for less of the time does not limit alone. */
const LIMITING = 0.7;
/** Waiting for less is not worth a word. */
const WORTH_SAYING = 0.3;
/** With less of the time in its stages, a command is about what comes before and after them. */
const MOST = 0.5;

const percent = (share: number): string => `${Math.round(100 * share)} %`;

const threadsOf = ({ threads }: StageReport): string =>
  threads === 0 ? 'on the main thread' : threads === 1 ? 'its thread' : `its ${threads} threads`;

const listOf = (names: readonly string[]): string =>
  names.length < 2 ? (names[0] ?? '') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/** Milliseconds that the line of stages ran, as far as its figures tell. */
const lineMs = ({ busyMs, busyShare, threads }: StageReport): number =>
  busyShare > 0 ? busyMs / busyShare / Math.max(1, threads) : 0;

const others = (stages: readonly StageReport[], top: StageReport): string => {
  const rest = stages.filter((stage) => stage !== top && stage.batches > 0);
  const room = rest.filter(({ outputShare }) => outputShare >= WORTH_SAYING);
  const input = rest.filter(({ inputShare }) => inputShare >= WORTH_SAYING);
  const waits = (stage: StageReport, share: number): string => `${stage.stage} (${percent(share)})`;
  const words = [
    room.length > 0
      ? `for room behind it ${listOf(room.map((stage) => waits(stage, stage.outputShare)))}`
      : '',
    input.length > 0
      ? `for batches ${listOf(input.map((stage) => waits(stage, stage.inputShare)))}`
      : '',
  ].filter((word) => word !== '');
  return words.length === 0 ? '' : ` Others waited: ${words.join('; ')}.`;
};

/** What limited a run of `elapsedMs` milliseconds, of which the stages tell. */
export const bottleneck = (elapsedMs: number, stages: readonly StageReport[]): string => {
  const top = stages.toSorted((a, b) => b.busyShare - a.busyShare)[0];
  if (!top || top.busyMs === 0) return 'No stage had anything to do.';
  const inLine = Math.min(1, lineMs(top) / Math.max(1, elapsedMs));
  const line =
    inLine < MOST
      ? `Only ${percent(inLine)} of the time went by in the stages: the rest is starting, reading tables and committing. `
      : '';
  const handing = Math.max(0, 1 - top.busyShare - top.inputShare - top.outputShare);
  if (top.busyShare >= LIMITING) {
    return (
      `${line}${top.stage} limits: ${threadsOf(top)} busy for ${percent(top.busyShare)} of the ` +
      `time.${others(stages, top)}`
    );
  }
  return (
    `${line}No stage limits alone. The busiest is ${top.stage}: ${threadsOf(top)} busy for ${percent(top.busyShare)} of the ` +
    `time; ${percent(top.inputShare)} went by waiting for batches, ${percent(top.outputShare)} waiting for room, ` +
    `${percent(handing)} starting threads and handing over.${others(stages, top)}`
  );
};

/** What a command says in its JSON of its stages; undefined where it has none. */
export const insightOf = (json: string): Insight | undefined => {
  const { elapsedMs, stages } = JSON.parse(json) as Partial<Insight>;
  if (elapsedMs === undefined || !stages) return undefined;
  return { elapsedMs, stages, words: bottleneck(elapsedMs, stages) };
};
