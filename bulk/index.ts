// The door of bulk/ ("nvsnap/bulk"): many images in one run, once or on a schedule.

export {
  type BulkEmitter,
  type BulkEvents,
  type BulkProgress,
  createBulkEmitter,
} from './events.js';
export { type CommandPlace, type Ending, runCommand, shortenCommand } from './hooks.js';
export { readJobs } from './jobs-file.js';
export type { MachineAbout, MachineRunner } from './machines.js';
export {
  type BulkResult,
  exitCodeOf,
  type Failure,
  failureOf,
  type HookOutcome,
  type JobOutcome,
  type MachineOutcome,
  type MachineTaken,
  type Pruned,
} from './outcome.js';
export type { Group, Job, JobOptions, MachineJob, Plan, Schedule } from './plan.js';
export { type BulkOptions, runBulk } from './run.js';
export { Slots } from './slots.js';
export { type Round, type WatchOptions, watchJobs } from './watch.js';
