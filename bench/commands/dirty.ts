// A later take that is told what may have changed, by each dirty source that works here, beside a full scan and
// beside what qemu-img has for it: converting all of the image again.

import fs from 'node:fs';
import { reasonOf } from '../../disk/index.js';
import { type Job, notInstalled } from '../job.js';
import { settle, syncPath } from '../measure/files.js';
import { startLimit, writeLimit } from '../measure/limits.js';
import { qemuCompare, qemuToQcow2 } from '../measure/peers.js';
import { execute, hear } from '../measure/process.js';
import { type Contender, race } from '../measure/race.js';
import { CLUSTER } from '../options.js';
import { insightOf } from '../report/words.js';
import { type Insight, type Result, resultOf } from '../result.js';
import type { Subject } from '../subject.js';
import { changeImage } from '../workload/change.js';
import { checkSnapshot, copyStore, makeStore, ours, STORE, tagOf } from './stores.js';
import { Mapper, Trackers } from './tracked.js';

/** The second take of each store is the first that can follow its source. */
const TRACKED_TAG = 'tracked';
const PEER_FILE = 'peer.qcow2';

interface Tracked {
  readonly name: string;
  readonly spec: string;
  readonly store: string;
}

/** What a take says of its dirty source: why all was read, or null. */
const fallbackOf = (json: string): string | null =>
  (JSON.parse(json) as { dirty: { fallback: string | null } }).dirty.fallback;

/** Bytes that a take says it wrote. */
const storedIn = (json: string): number => {
  const { storedBytes, metadataBytes } = JSON.parse(json) as {
    storedBytes: number;
    metadataBytes: number;
  };
  return storedBytes + metadataBytes;
};

const take = (job: Job, image: string, { store, spec }: Tracked, tag: string) =>
  ours(job, 'take', image, store, '--tag', tag, '--dirty', spec);

const sourcesOf = (job: Job, trackers: Trackers, mapper: Mapper): Tracked[] => {
  const tracked = (name: string, spec: string): Tracked => ({
    name,
    spec,
    store: job.scratch.path(`${name}.qcow2`),
  });
  return [
    tracked('bitmap', `bitmap:${trackers.bitmap}`),
    tracked('holes', `holes:${trackers.holes}`),
    tracked('reflink', 'reflink'),
    tracked('soft-dirty', `soft-dirty:${mapper.pid}`),
    tracked('scan', 'scan'),
  ];
};

/** What a source is like on this machine: undefined when it works, else why not. */
const trial = async (
  job: Job,
  subject: Subject,
  source: Tracked,
  tag: string,
): Promise<string | undefined> => {
  try {
    const told = fallbackOf(await hear(job.scratch, take(job, subject.path, source, tag)));
    return told === null ? undefined : told;
  } catch (error) {
    const words = reasonOf(error);
    // The first sentence: what to do about it is said in the next line.
    return /nvsnap: ([^\n\uFFFD]*)/.exec(words)?.[1] ?? words;
  }
};

/** Lets every source draw its first line, and sees which of them are followed from then on. */
const tryOut = async (
  job: Job,
  subject: Subject,
  sources: readonly Tracked[],
  change: (round: number) => Promise<void>,
): Promise<{ readonly working: Tracked[]; readonly missing: string[] }> => {
  const base = await makeStore(job, subject.path);
  const missing = new Map<Tracked, string>();
  for (const source of sources) {
    copyStore(base, source.store);
    await trial(job, subject, source, TRACKED_TAG);
  }
  job.scratch.drop(STORE);
  await change(0);
  for (const source of sources) {
    const why = await trial(job, subject, source, tagOf(0));
    if (why !== undefined) missing.set(source, `${source.name} does not work here: ${why}`);
  }
  for (const source of missing.keys()) fs.rmSync(source.store, { force: true });
  return {
    working: sources.filter((source) => !missing.has(source)),
    missing: [...missing.values()],
  };
};

export const dirty = async (job: Job): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.big);
  const image = subject.changeable();
  const trackers = new Trackers(job, subject.size);
  const mapper = await Mapper.start(job, image);
  const undo: (() => void)[] = [];
  let insight: Insight | undefined;
  /** Bytes that a take wrote. */
  let stored = 0;
  const advance = async (round: number): Promise<void> => {
    const drawn = changeImage(image, {
      pattern: options.pattern,
      clusterSize: CLUSTER,
      count: subject.clustersOf(options.changed),
      seed: (options.seed + round) % 2 ** 32,
    });
    undo.push(drawn.undo);
    trackers.note(drawn.extents);
    await mapper.store(drawn.extents, round);
    syncPath(image);
  };
  try {
    const { working, missing } = await tryOut(
      job,
      subject,
      sourcesOf(job, trackers, mapper),
      advance,
    );
    const own = working.map(
      (source): Contender => ({
        name: source.name,
        prepare: () => settle(job, source.store, image),
        commands: (round) => [take(job, image, source, tagOf(round))],
        heard: (text) => {
          const why = fallbackOf(text);
          if (why !== null) throw new Error(`${source.name} was not followed: ${why}`);
          if (source !== working[0]) return;
          insight = insightOf(text);
          stored = storedIn(text);
        },
      }),
    );
    const out = scratch.path(PEER_FILE);
    const qemu: Contender = {
      name: 'qemu-img',
      prepare: () => {
        scratch.drop(PEER_FILE);
        settle(job, image);
      },
      commands: () => [qemuToQcow2(image, out, 'zstd')],
      outputs: () => [out],
    };
    const { laps, limits } = await race(scratch, job.has('qemu-img') ? [...own, qemu] : own, {
      rounds: options.rounds,
      // A rate of the image's bytes would mean nothing: they are not read.
      work: undefined,
      limits: [startLimit(job), writeLimit(job, () => stored)],
      beforeRound: advance,
    });
    let digest = '';
    for (const { store } of working) {
      digest = await checkSnapshot(job, image, store, tagOf(options.rounds));
    }
    if (job.has('qemu-img')) await execute(scratch, qemuCompare(image, out));
    for (const { store } of working) fs.rmSync(store);
    scratch.drop(PEER_FILE);
    return resultOf(
      { level: 'commands', case: 'dirty' },
      {
        title: `next take by dirty source, ${options.changed} % changed (${options.pattern})`,
        laps,
        limits,
        missing: [...missing, ...(job.has('qemu-img') ? [] : [notInstalled('qemu-img')])],
        verified: laps.map(({ name }) => name),
        digest,
        insight,
      },
      [{ beside: 'qemu-img', ratio: 50 }],
    );
  } finally {
    await mapper.end();
    for (const back of undo.reverse()) back();
    trackers.drop();
  }
};
