// Takes many images at once: so many at a time, in one set of threads, within one budget of memory. Groups go
// first, one after another, so that no image is stilled longer than its own group needs; all other jobs fill
// the places that are left.

import { availableParallelism } from 'node:os';
import { Fault, MiB } from '../disk/index.js';
import {
  createEmitter,
  type KeepPolicy,
  leakNotice,
  Pools,
  prune,
  take,
} from '../snapshot/index.js';
import { type BulkEmitter, BulkMeter } from './events.js';
import { runHook } from './hooks.js';
import { type MachineRunner, runMachine } from './machines.js';
import {
  type BulkResult,
  type Failure,
  failureOf,
  type HookOutcome,
  type JobOutcome,
  type MachineOutcome,
  type Pruned,
  stoppedBy,
  sumUp,
} from './outcome.js';
import type { Group, Job, MachineJob, Plan } from './plan.js';
import { Slots } from './slots.js';

/** One take waits for the disk while the others compute. */
const AT_ONCE = 3;
/** For the batches of all takes together. */
const MEMORY = 384 * MiB;

export interface BulkOptions {
  readonly events?: BulkEmitter | undefined;
  /** Ends the run: takes under way are cancelled, others not begun, hooks that are owed run. */
  readonly signal?: AbortSignal | undefined;
  /** Bytes for the batches of all takes together; left out: what the plan says. */
  readonly memory?: number | undefined;
  /** Which snapshots stay in a store after a take; left out: all. */
  readonly keep?: KeepPolicy | undefined;
  /** Takes a machine's point; needed for plans that have machines. */
  readonly machines?: MachineRunner | undefined;
}

/** How one job is done. */
interface Manner {
  readonly turn?: <T>(work: () => Promise<T>) => Promise<T>;
  readonly released?: () => void;
}

class BulkRun {
  readonly #plan: Plan;
  readonly #options: BulkOptions;
  readonly #slots: Slots;
  readonly #pools: Pools;
  readonly #meter: BulkMeter;
  /** Bytes for the batches of each take. */
  readonly #share: number;
  readonly #outcomes = new Map<Job, JobOutcome>();
  readonly #machines = new Map<MachineJob, MachineOutcome>();
  readonly #hooks: HookOutcome[] = [];

  constructor(plan: Plan, options: BulkOptions) {
    const atOnce = Math.min(plan.concurrency ?? AT_ONCE, plan.jobs.length + plan.machines.length);
    this.#plan = plan;
    this.#options = options;
    this.#slots = new Slots(atOnce);
    const memory = options.memory ?? plan.memory ?? MEMORY;
    this.#pools = new Pools({ threads: plan.threads ?? availableParallelism(), memory });
    this.#meter = new BulkMeter(plan.jobs, plan.machines, options.events);
    this.#share = Math.floor(memory / atOnce);
  }

  async run(): Promise<BulkResult> {
    const { jobs, machines } = this.#plan;
    const single = jobs.filter(({ group }) => group === undefined);
    try {
      const ends = await this.#runMachines();
      await Promise.all([
        ...ends,
        this.#runGroups(),
        ...single.map((job) => this.#slots.run(() => this.#runJob(job))),
      ]);
    } finally {
      await this.#pools.close();
    }
    this.#meter.end();
    const outcomes = jobs.flatMap((job) => this.#outcomes.get(job) ?? []);
    const points = machines.flatMap((machine) => this.#machines.get(machine) ?? []);
    return sumUp(outcomes, points, this.#hooks, this.#meter.elapsedMs);
  }

  /** Each machine by itself until it goes on: nothing else is at work that would make its pause longer. */
  async #runMachines(): Promise<Promise<void>[]> {
    const { signal, keep, events, machines: runner } = this.#options;
    const ends: Promise<void>[] = [];
    for (const job of this.#plan.machines) {
      this.#meter.started(job.name);
      const { released, ended } = runMachine(job, runner, {
        folder: this.#plan.folder,
        memory: this.#share,
        pools: this.#pools,
        signal,
        keep,
        onProgress: (progress) => this.#meter.progress(job.name, progress),
        onNotice: (sentence) => events?.emit('notice', job.name, sentence),
      });
      ends.push(
        ended.then((outcome) => {
          this.#machines.set(job, outcome);
          this.#meter.ended(job.name, outcome.status !== 'taken');
          events?.emit('machine', outcome);
        }),
      );
      await released;
    }
    return ends;
  }

  async #runGroups(): Promise<void> {
    const ends: Promise<void>[] = [];
    for (const group of this.#plan.groups) ends.push((await this.#runGroup(group)).ended);
    await Promise.all(ends);
  }

  /** Runs a group; resolves when its images may change again, and `ended` when its takes have ended. */
  async #runGroup(group: Group): Promise<{ readonly ended: Promise<void> }> {
    const { signal } = this.#options;
    const jobs = this.#plan.jobs.filter((job) => job.group === group.name);
    if (signal?.aborted) {
      for (const job of jobs) this.#end(job, this.#notDone(job));
      return { ended: Promise.resolve() };
    }
    const before = await this.#runHook(group, 'before', signal);
    if (before?.error || signal?.aborted) {
      for (const job of jobs) {
        this.#end(job, signal?.aborted ? this.#notDone(job) : failed(job, before?.error));
      }
      await this.#runHook(group, 'after');
      return { ended: Promise.resolve() };
    }
    const takes = jobs.map((job) => {
      let release = (): void => {};
      const released = new Promise<void>((resolve) => (release = resolve));
      const turn: Manner['turn'] = (work) =>
        this.#slots.run(() => {
          this.#meter.started(job.name);
          return work();
        }, true);
      const ended = this.#runJob(job, { turn, released: release }).finally(release);
      return { released, ended };
    });
    await Promise.all(takes.map(({ released }) => released));
    // Nobody may stop this one: the images wait for it.
    await this.#runHook(group, 'after');
    return { ended: Promise.all(takes.map(({ ended }) => ended)).then(() => {}) };
  }

  async #runHook(group: Group, hook: 'before' | 'after', signal?: AbortSignal) {
    const outcome = await runHook(group, hook, this.#plan.folder, signal);
    if (!outcome) return undefined;
    this.#hooks.push(outcome);
    this.#options.events?.emit('hook', outcome);
    return outcome;
  }

  /** Runs one job to its end; never rejects. */
  async #runJob(job: Job, manner: Manner = {}): Promise<void> {
    const { signal, events } = this.#options;
    if (signal?.aborted) return this.#end(job, this.#notDone(job));
    if (!manner.turn) this.#meter.started(job.name);
    const own = createEmitter();
    own.on('progress', (progress) => {
      this.#meter.progress(job.name, progress);
      events?.emit('job', job.name, progress);
    });
    own.on('notice', (sentence) => events?.emit('notice', job.name, sentence));
    const { image, store, tag, options } = job;
    try {
      const result = await take({
        ...options,
        ...manner,
        image,
        store,
        tag,
        memory: this.#share,
        pools: this.#pools,
        events: own,
        signal,
      });
      this.#end(job, { ...named(job), status: 'taken', result, ...(await this.#prune(job)) });
    } catch (error) {
      const stopped = error instanceof Fault && error.code === 'cancelled';
      this.#end(job, stopped ? this.#notDone(job) : failed(job, failureOf(error)));
    }
  }

  async #prune({
    name,
    store,
  }: Job): Promise<{ pruned: Pruned | null; pruneError: Failure | null }> {
    const { keep } = this.#options;
    if (!keep) return { pruned: null, pruneError: null };
    try {
      const { removed, freedBytes, leaked } = await prune({ store, keep });
      const leak = leakNotice(leaked);
      if (leak) this.#options.events?.emit('notice', name, leak);
      return { pruned: { removed: removed.length, freedBytes }, pruneError: null };
    } catch (error) {
      return { pruned: null, pruneError: failureOf(error) };
    }
  }

  #notDone(job: Job): JobOutcome {
    return { ...named(job), status: 'not-done', error: stoppedBy(this.#options.signal) };
  }

  #end(job: Job, outcome: JobOutcome): void {
    this.#outcomes.set(job, outcome);
    this.#meter.ended(job.name, outcome.status !== 'taken');
    this.#options.events?.emit('ended', outcome);
  }
}

const named = ({ name, image, store, group }: Job) => ({
  name,
  image,
  store,
  group: group ?? null,
});

const failed = (job: Job, error: Failure | null | undefined): JobOutcome => ({
  ...named(job),
  status: 'failed',
  error: error ?? failureOf(new Error('nobody knows why')),
});

/** Does all jobs of a plan, whatever becomes of each; rejects only for what is no job's fault. */
export const runBulk = (plan: Plan, options: BulkOptions = {}): Promise<BulkResult> =>
  new BulkRun(plan, options).run();
