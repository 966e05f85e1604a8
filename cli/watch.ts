// nvsnap watch JOBS

import {
  exitCodeOf,
  type HookOutcome,
  type JobOutcome,
  type MachineOutcome,
  type Round,
  watchJobs,
} from '../bulk/index.js';
import { formatSize, oneLine } from '../disk/index.js';
import { bulkEvents, machines, total } from './bulk.js';
import { standardOutput } from './output.js';
import { type Screen, shortTime } from './screen.js';
import { withPatience } from './stop.js';

/** What became of one job, as a line of a log says it. */
const jobWords = (job: JobOutcome): string => {
  if (job.status !== 'taken') {
    return `${job.status === 'failed' ? 'failed' : 'not done'}: ${job.error.message} ${job.error.advice}`;
  }
  const { result, pruned, pruneError } = job;
  const kind = result.parent === null ? 'complete' : `on ${result.parent}`;
  const changed = `${result.changedClusters} ${result.changedClusters === 1 ? 'cluster' : 'clusters'} changed`;
  const removed = pruned && pruned.removed > 0 ? `, ${pruned.removed} removed` : '';
  const trouble = pruneError ? `; nothing removed: ${pruneError.message} ${pruneError.advice}` : '';
  return (
    `took ${result.tag} (${kind}): ${changed}, ${formatSize(result.storedBytes)} stored, ` +
    `${shortTime(result.elapsedMs)}${removed}${trouble}`
  );
};

const machineWords = (job: MachineOutcome): string => {
  if (job.status !== 'taken') {
    return `${job.status === 'failed' ? 'failed' : 'not done'}: ${job.error.message} ${job.error.advice}`;
  }
  const { result, pruned, pruneError } = job;
  const pause = result.pauseMs === null ? '' : `, stood still for ${result.pauseMs.toFixed(1)} ms`;
  const removed = pruned ? `, ${pruned} removed` : '';
  const trouble = pruneError ? `; nothing removed: ${pruneError.message} ${pruneError.advice}` : '';
  return (
    `took point ${result.tag}: ${formatSize(result.storedBytes)} stored, ` +
    `${shortTime(result.elapsedMs)}${pause}${removed}${trouble}`
  );
};

const hookWords = ({ group, hook, error, elapsedMs }: HookOutcome): string =>
  error ? `${error.message} ${error.advice}` : `${hook} group ${group}: ${shortTime(elapsedMs)}`;

/** The log: a line per job and round, for people or as JSON. */
class Log {
  readonly #screen: Screen;
  round = 1;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  write(value: Readonly<Record<string, unknown>>, words: string): void {
    const time = new Date().toISOString();
    const { round } = this;
    if (this.#screen.json) {
      standardOutput.write(`${JSON.stringify({ time, round, ...value })}\n`);
    } else if (!this.#screen.quiet) {
      standardOutput.write(`${time.slice(0, 19)}Z round ${round}: ${oneLine(words)}\n`);
    }
  }

  job(job: JobOutcome): void {
    this.write({ type: 'job', ...job }, `${job.name}: ${jobWords(job)}`);
    const error = job.status === 'taken' ? job.pruneError : job.error;
    if (error && this.#screen.quiet)
      this.#screen.complain(`${job.name}: ${error.message}`, error.advice);
  }

  machine(job: MachineOutcome): void {
    this.write({ type: 'machine', ...job }, `${job.name}: ${machineWords(job)}`);
    const error = job.status === 'taken' ? job.pruneError : job.error;
    if (error && this.#screen.quiet)
      this.#screen.complain(`${job.name}: ${error.message}`, error.advice);
  }

  hook(hook: HookOutcome): void {
    this.write({ type: 'hook', ...hook }, hookWords(hook));
    if (hook.error && this.#screen.quiet) {
      this.#screen.complain(hook.error.message, hook.error.advice);
    }
  }

  ended(round: Round): void {
    if ('refused' in round) {
      const { message, advice } = round.refused;
      this.write({ type: 'refused', error: round.refused }, `left out: ${message} ${advice}`);
      if (this.#screen.quiet) this.#screen.complain(message, advice);
    } else {
      const { jobs: _jobs, machines: _machines, hooks: _hooks, ...sums } = round.result;
      this.write({ type: 'round', ...sums }, total(round.result));
    }
    this.round += 1;
  }
}

export default async (
  [jobs = '']: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  const { once, memory } = options as { once?: boolean; memory?: number };
  const log = new Log(screen);
  const events = bulkEvents(screen);
  events.on('ended', (job) => log.job(job));
  events.on('machine', (job) => log.machine(job));
  events.on('hook', (hook) => log.hook(hook));
  events.on('notice', (job, sentence) =>
    log.write({ type: 'notice', job, sentence }, `${job}: ${sentence}`),
  );
  const onRound = (round: Round): void => log.ended(round);
  const last = await withPatience((signal) =>
    watchJobs({ jobs, once, memory, machines, events, onRound, signal }),
  );
  // A watch that is told to end has done what it should; one round is judged as any run.
  return once && last && 'result' in last ? exitCodeOf(last.result) : 0;
};
