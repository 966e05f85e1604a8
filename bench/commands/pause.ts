// How long a machine stands still for a point, with its RAM and devices, by QEMU's own clock; beside savevm of the same
// machine. On each file system that makes clones, in a file: that needs root.

import { MiB } from '../../disk/index.js';
import { type Job, notInstalled } from '../job.js';
import { inTurn } from '../measure/race.js';
import { type Result, resultOf, unmeasured } from '../result.js';
import { failureOf, mountNew } from './mounted.js';
import { Machine } from './vm.js';

const FILE_SYSTEMS = ['xfs', 'btrfs'] as const;
/** Points in all rounds together, at least. */
const POINTS = 50;
/** In a benchmark that is small itself there are fewer. */
const SMALL_BENCH = 128 * MiB;
const FEW = 3;
/** The image, RAM, their clones and stores, a state of savevm and what is restored. */
const DISK_SHARE = 8;
const LEAST_DISK = 640 * MiB;
/** savevm writes all memory while the machine stands still. */
const GOAL = 5;

const WHERE = { level: 'commands', case: 'pause' } as const;

/** Why no machine can be run here; undefined where one can. */
const whyNoMachine = (job: Job): string | undefined =>
  job.has('qemu-img') ? failureOf('qemu-system-x86_64', '--version') : notInstalled('qemu-img');

const measure = async (job: Job, title: string, folder: string): Promise<Result> => {
  const { rounds, size } = job.options;
  const machine = new Machine(job, folder);
  try {
    await machine.start();
    const perRound = Math.ceil((size < SMALL_BENCH ? FEW : POINTS) / rounds);
    const laps = await inTurn([machine.points(perRound), machine.states()], rounds);
    const digest = await machine.check();
    return resultOf(WHERE, { title, laps, verified: ['nvsnap'], digest }, [
      { beside: 'savevm', ratio: GOAL },
    ]);
  } finally {
    await machine.end();
  }
};

const measureOn = async (job: Job, type: (typeof FILE_SYSTEMS)[number]): Promise<Result> => {
  const title = `the pause for a point with RAM and devices, on ${type}, beside that for savevm`;
  const why = whyNoMachine(job);
  if (why !== undefined) return unmeasured(WHERE, title, why);
  const mounted = mountNew(job, type, Math.max(LEAST_DISK, job.options.size * DISK_SHARE));
  if ('why' in mounted) return unmeasured(WHERE, title, mounted.why);
  try {
    job.say(`a machine on ${type}`);
    return await measure(job, title, mounted.folder);
  } finally {
    mounted.leave();
  }
};

export const pause = async (job: Job): Promise<readonly Result[]> => {
  const results: Result[] = [];
  for (const type of FILE_SYSTEMS) results.push(await measureOn(job, type));
  return results;
};
