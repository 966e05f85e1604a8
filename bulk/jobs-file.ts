// Reads a jobs file: text, shape, sense. Whatever is wrong is said with its line and column, the first place
// first, as a compiler does.

import fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { errnoOf, Fault, fault, MiB, reasonOf } from '../disk/index.js';
import { findSource, findStage, KEEP_RULES } from '../snapshot/index.js';
import { judge, type Mistake, mistakesOf, quote } from './mistakes.js';
import { type Position, readText, type Text, type Way } from './places.js';
import type { Group, Job, JobOptions, MachineJob, Plan } from './plan.js';
import { type JobsText, jobsSchema } from './schema.js';

/** Thousands of jobs fit into it. */
const MAX_BYTES = MiB;

/** A command that stills a guest has done so long before. */
const DEFAULT_TIMEOUT_MS = 60_000;

/** What a path leads to, the same for all names of a file: itself, or the place of one that is to be made. */
const targetOf = (path: string): string => {
  try {
    const { dev, ino } = fs.statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    try {
      return join(fs.realpathSync(dirname(path)), basename(path));
    } catch {
      return path;
    }
  }
};

/** What is in a file, of which either list may be left out. */
type JobsFile = JobsText & { readonly jobs: NonNullable<JobsText['jobs']> };

const nothingToDo = (text: Text, { jobs, machines }: JobsText): Mistake[] =>
  jobs || machines
    ? []
    : [
        {
          position: text.find(['jobs']),
          problem: '"jobs" is missing',
          advice: 'It must be a list of jobs.',
        },
      ];

/** Names for all jobs: their own, or that of the image; with a number where that is taken. */
const namesFor = ({ jobs, machines = [] }: JobsFile): string[] => {
  const all = [
    ...jobs.map(({ name, image }) => ({ name, path: image })),
    ...machines.map(({ name, stores }) => ({ name, path: stores })),
  ];
  const taken = new Set(all.flatMap(({ name }) => (name === undefined ? [] : [name])));
  return all.map(({ name, path }) => {
    if (name !== undefined) return name;
    const base = basename(path);
    let free = base;
    for (let n = 2; taken.has(free); n += 1) free = `${base}-${n}`;
    taken.add(free);
    return free;
  });
};

/** What no schema sees: what the jobs have to do with each other. */
const senseless = (text: Text, file: JobsFile, jobs: readonly Job[]): Mistake[] => {
  const mistakes: Mistake[] = [];
  const named = new Map<string, number>();
  const stores = new Map<string, number>();
  for (const [i, job] of jobs.entries()) {
    const at = (key: string): Position => text.find(['jobs', i, key]);
    const twin = named.get(job.name);
    if (twin !== undefined) {
      const problem = `${quote(job.name)} is also the name of job ${twin + 1}`;
      mistakes.push({ position: at('name'), problem, advice: 'Give each job a name of its own.' });
    } else named.set(job.name, i);
    const store = targetOf(job.store);
    const other = stores.get(store);
    if (other !== undefined) {
      const problem = `the jobs ${quote(jobs[other]?.name)} and ${quote(job.name)} have the same store`;
      const advice = 'Use a store of its own for each image.';
      mistakes.push({ position: at('store'), problem, advice });
    } else stores.set(store, i);
    if (job.group !== undefined && !Object.hasOwn(file.groups ?? {}, job.group)) {
      const known = Object.keys(file.groups ?? {})
        .map(quote)
        .join(', ');
      const advice = known === '' ? 'Describe it below "groups".' : `The groups are: ${known}.`;
      const problem = `there is no group ${quote(job.group)}`;
      mistakes.push({ position: at('group'), problem, advice });
    }
  }
  for (const [i, job] of jobs.entries()) {
    const owner = stores.get(targetOf(job.image));
    if (owner === undefined) continue;
    const problem = `the image of ${quote(job.name)} is the store of ${quote(jobs[owner]?.name)}`;
    const advice = 'Name the NVDIMM backing file or the device.';
    mistakes.push({ position: text.find(['jobs', i, 'image']), problem, advice });
  }
  return mistakes;
};

/** What a check throws, as a mistake. */
const mistakeOf = (position: Position, check: () => unknown): Mistake[] => {
  try {
    check();
    return [];
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return [{ position, problem: error.message.replace(/\.$/, ''), advice: error.advice }];
  }
};

/** Modules of stages and dirty sources that are not there. */
const missing = (text: Text, said: Said, folder: string, way: Way): Mistake[] => {
  const { dirty, stages = [] } = optionsOf(said, folder);
  return [
    ...(dirty ? mistakeOf(text.find([...way, 'dirty']), () => findSource(dirty)) : []),
    ...stages.flatMap((stage, i) =>
      mistakeOf(text.find([...way, 'stages', i]), () => findStage(stage)),
    ),
  ];
};

/** A policy that keeps nothing: nobody means it. */
const keepsNothing = (text: Text, { watch }: JobsFile): Mistake[] => {
  const keep = watch?.keep;
  if (!keep || KEEP_RULES.some((rule) => (keep[rule] ?? 0) > 0)) return [];
  const advice = 'Give one, as "last: 24", or leave "keep" out to keep all.';
  const problem = '"keep" has no rule that keeps a snapshot';
  return [{ position: text.find(['watch', 'keep']), problem, advice }];
};

/** What a file may say of a take, as it is written there. */
type Said = JobsFile['jobs'][number] | JobsFile;

const optionsOf = (from: Said, folder: string): JobOptions => {
  const { parent, compression, clusterSize, digest, level, otherImage, dirty, audit, dedup } = from;
  return {
    ...{ parent, compression, clusterSize, digest, level, otherImage, audit, dedup },
    dirty: dirty === undefined ? undefined : { spec: dirty, folder },
    stages: from.stages?.map((stage) => ({ ...stage, folder })),
  };
};

/** `own` where it says something, else `usual`. */
const withDefaults = (own: JobOptions, usual: JobOptions): JobOptions => {
  const said = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...usual, ...Object.fromEntries(said) };
};

const jobsOf = (file: JobsFile, folder: string): Job[] => {
  const names = namesFor(file);
  const usual = optionsOf(file, folder);
  return file.jobs.map((job, i) => ({
    name: names[i] ?? job.image,
    image: resolve(folder, job.image),
    store: resolve(folder, job.store),
    tag: job.tag,
    group: job.group,
    options: withDefaults(optionsOf(job, folder), usual),
  }));
};

/** A path counts from the file's folder; a port is one of this machine. */
const socketIn = (folder: string, qmp: string): string =>
  /^(?:tcp:)?[^/]+:\d+$/.test(qmp) ? qmp : resolve(folder, qmp.replace(/^unix:/, ''));

const machinesOf = (file: JobsFile, folder: string): MachineJob[] => {
  const names = namesFor(file).slice(file.jobs.length);
  return (file.machines ?? []).map((machine, i) => ({
    name: names[i] ?? machine.stores,
    qmp: socketIn(folder, machine.qmp),
    stores: resolve(folder, machine.stores),
    tag: machine.tag,
    state: machine.state,
    freeze: machine.freeze,
    dirty: machine.dirty === undefined ? undefined : { spec: machine.dirty, folder },
    whilePaused: machine.whilePaused,
    maxPauseMs: machine.maxPause,
    options: {
      compression: machine.compression ?? file.compression,
      clusterSize: machine.clusterSize ?? file.clusterSize,
      level: machine.level ?? file.level,
    },
  }));
};

/** Two machines in one folder would take each other's regions for their own. */
const sharedFolders = (
  text: Text,
  jobs: readonly Job[],
  machines: readonly MachineJob[],
): Mistake[] => {
  const folders = new Map<string, MachineJob>();
  const mistakes: Mistake[] = [];
  for (const [i, machine] of machines.entries()) {
    const other = folders.get(targetOf(machine.stores));
    if (other) {
      const problem = `the machines ${quote(other.name)} and ${quote(machine.name)} have the same folder`;
      const advice = 'Use a folder of its own for the points of each machine.';
      mistakes.push({ position: text.find(['machines', i, 'stores']), problem, advice });
    }
    folders.set(targetOf(machine.stores), machine);
  }
  const names = new Set(jobs.map(({ name }) => name));
  for (const [i, { name }] of machines.entries()) {
    if (!names.has(name)) {
      names.add(name);
      continue;
    }
    const problem = `${quote(name)} is also the name of another job or machine`;
    const position = text.find(['machines', i, 'name']);
    mistakes.push({ position, problem, advice: 'Give each a name of its own.' });
  }
  return mistakes;
};

const groupsOf = ({ groups = {}, jobs }: JobsFile): Group[] => {
  const used = new Set(jobs.map(({ group }) => group));
  return Object.entries(groups)
    .filter(([name]) => used.has(name))
    .map(([name, { before, after, timeout }]) => ({
      name,
      before,
      after,
      timeoutMs: timeout ?? DEFAULT_TIMEOUT_MS,
    }));
};

const readSource = (path: string): string => {
  const refuse = (reason: string, cause?: unknown): never => {
    throw fault('jobs-unreadable', { path, reason }, cause);
  };
  try {
    const stat = fs.statSync(path);
    if (!stat.isFile()) refuse('it is not a regular file');
    if (stat.size > MAX_BYTES) refuse(`it is larger than ${MAX_BYTES} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(fs.readFileSync(path));
  } catch (error) {
    if (error instanceof Fault) throw error;
    if (errnoOf(error) === 'ENOENT') return refuse('it does not exist', error);
    if (errnoOf(error) === 'EACCES') return refuse('permission denied', error);
    if (errnoOf(error)?.startsWith('ERR_ENCODING')) return refuse('it is not UTF-8 text', error);
    if (errnoOf(error) !== undefined) return refuse(reasonOf(error), error);
    throw error;
  }
};

/** Reads and checks a jobs file. Relative paths count from its folder. Throws a Fault. */
export const readJobs = (path: string): Plan => {
  const text = readText(readSource(path));
  judge(path, text.errors);
  const { data, error } = jobsSchema.safeParse(text.value);
  if (!data) {
    judge(path, error?.issues.flatMap((issue) => mistakesOf(text, issue)) ?? []);
    throw error;
  }
  judge(path, nothingToDo(text, data));
  const file: JobsFile = { ...data, jobs: data.jobs ?? [] };
  const folder = dirname(resolve(path));
  const jobs = jobsOf(file, folder);
  const machines = machinesOf(file, folder);
  judge(path, [
    ...senseless(text, file, jobs),
    ...sharedFolders(text, jobs, machines),
    ...keepsNothing(text, file),
    ...missing(text, file, folder, []),
    ...file.jobs.flatMap((job, i) => missing(text, job, folder, ['jobs', i])),
  ]);
  return {
    path,
    folder,
    jobs,
    machines,
    groups: groupsOf(file),
    memory: file.memory,
    concurrency: file.concurrency,
    threads: file.threads,
    watch: file.watch && { everyMs: file.watch.every, keep: file.watch.keep },
  };
};
