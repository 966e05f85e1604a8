// nvsnap take --jobs FILE

import {
  type BulkEmitter,
  type BulkProgress,
  type BulkResult,
  createBulkEmitter,
  exitCodeOf,
  type JobOutcome,
  type MachineOutcome,
  type MachineRunner,
  readJobs,
  runBulk,
} from '../bulk/index.js';
import { fault, formatSize } from '../disk/index.js';
import { bar, columns, type Screen, shortTime } from './screen.js';
import { withPatience } from './stop.js';

/** What may be said beside --jobs; all else is the file's. */
const BESIDE: ReadonlySet<string> = new Set([
  ...['jobs', 'memory', 'json', 'progress', 'quiet', 'color', 'debug', 'pools'],
]);

/** Options that have a value though nobody gave them one. */
const DEFAULTS: Readonly<Record<string, unknown>> = { parent: 'latest' };

/** Refuses what would be said in two places. */
const checkAlone = (words: readonly string[], options: Record<string, unknown>): void => {
  const other = Object.keys(options).find(
    (name) => !BESIDE.has(name) && options[name] !== undefined && options[name] !== DEFAULTS[name],
  );
  const option = other?.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const what = words.length > 0 ? 'An image' : other === undefined ? undefined : `--${option}`;
  if (what === undefined) return;
  throw fault('usage', {
    problem: `${what} does not go with --jobs.`,
    advice: 'Write it into the jobs file.',
  });
};

const count = (number: number, noun: string): string =>
  `${number} ${noun}${number === 1 ? '' : 's'}`;

const line = (progress: BulkProgress): string => {
  const { endedJobs, jobs, failedJobs, running } = progress;
  const failed = failedJobs === 0 ? '' : ` (${failedJobs} failed)`;
  return `${bar('take', progress)}  ${endedJobs} of ${count(jobs, 'image')}${failed}  ${running.join(', ')}`;
};

/** An emitter whose progress is shown as the options say. */
export const bulkEvents = (screen: Screen): BulkEmitter => {
  const events = createBulkEmitter();
  if (screen.progress === 'json') {
    events.on('job', (job, p) => screen.jsonLine({ type: 'progress', job, ...p }));
    events.on('progress', (p) => screen.jsonLine({ type: 'progress', verb: 'jobs', ...p }));
  }
  if (screen.progress === 'line') events.on('progress', (p) => screen.show(line(p)));
  return events;
};

const row = (job: JobOutcome): string[] => {
  if (job.status !== 'taken') {
    const word = job.status === 'failed' ? 'failed' : 'not done';
    return [job.name, '-', '-', '-', '-', `${word}: ${job.error.message} ${job.error.advice}`];
  }
  const { tag, changedClusters, storedBytes, elapsedMs } = job.result;
  const stored = formatSize(storedBytes);
  return [job.name, tag, String(changedClusters), stored, shortTime(elapsedMs), ''];
};

const machineRow = (job: MachineOutcome): string[] => {
  if (job.status !== 'taken') {
    const word = job.status === 'failed' ? 'failed' : 'not done';
    return [job.name, '-', '-', '-', '-', `${word}: ${job.error.message} ${job.error.advice}`];
  }
  const { tag, storedBytes, elapsedMs, pauseMs } = job.result;
  const pause = pauseMs === null ? '' : `stood still for ${pauseMs.toFixed(1)} ms`;
  return [job.name, tag, '-', formatSize(storedBytes), shortTime(elapsedMs), pause];
};

/** Loads what talks to machines only for those who have some. */
export const machines: MachineRunner = async (job, about) =>
  (await import('../vm/index.js')).machineRunner(job, about);

/** How a run ended, in one sentence. */
export const total = (r: BulkResult): string => {
  const rate = r.elapsedMs > 0 ? `, ${formatSize((r.imageBytes / r.elapsedMs) * 1000)}/s` : '';
  const failed = r.failed === 0 ? '' : `; ${r.failed} failed`;
  const notDone = r.notDone === 0 ? '' : `; ${r.notDone} not done`;
  return (
    `Took ${r.taken} of ${count(r.jobs.length + r.machines.length, 'snapshot')}: ${formatSize(r.imageBytes)} in ` +
    `${shortTime(r.elapsedMs)}${rate}, ${formatSize(r.storedBytes)} stored${failed}${notDone}.`
  );
};

const summary = (r: BulkResult): string =>
  [
    columns(
      ['JOB', 'SNAPSHOT', 'CHANGED', 'STORED', 'TIME', ''],
      [...r.jobs.map(row), ...r.machines.map(machineRow)],
      [2, 3, 4],
    ),
    ...r.hooks.flatMap(({ error }) => (error ? [`${error.message} ${error.advice}`] : [])),
    total(r),
  ].join('\n');

/** Where the summary is not for people, those who look at standard error are told of each failure. */
const complain = (r: BulkResult, screen: Screen): void => {
  for (const job of [...r.jobs, ...r.machines]) {
    const error = job.status === 'taken' ? job.pruneError : job.error;
    if (error) screen.complain(`${job.name}: ${error.message}`, error.advice);
  }
  for (const { error } of r.hooks) if (error) screen.complain(error.message, error.advice);
};

export default async (
  words: readonly string[],
  options: Record<string, unknown>,
  screen: Screen,
): Promise<number> => {
  checkAlone(words, options);
  const { jobs, memory } = options as { jobs: string; memory?: number };
  const plan = readJobs(jobs);
  const events = bulkEvents(screen);
  events.on('notice', (job, sentence) => screen.notice(sentence, { job }));
  const result = await withPatience((signal) =>
    runBulk(plan, { events, signal, memory, machines }),
  );
  screen.result(result, summary);
  if (screen.json || screen.quiet) complain(result, screen);
  return exitCodeOf(result);
};
