// The first take, complete: compressed (first, fast, zlib) or not (none), beside what else keeps or copies an image.

import { type Job, notInstalled } from '../job.js';
import { type Archiver, archivers } from '../measure/archivers.js';
import { checkFile } from '../measure/check.js';
import { bytesOf, settle } from '../measure/files.js';
import {
  codecLimit,
  copyLimit,
  distinctClusters,
  readLimit,
  writeLimit,
} from '../measure/limits.js';
import { cpSparse, ddCopy, qemuCompare, qemuToQcow2 } from '../measure/peers.js';
import { execute } from '../measure/process.js';
import { type Contender, type Runner, race } from '../measure/race.js';
import { type Goal, type Result, resultOf } from '../result.js';
import { checkSnapshot, FIRST_TAG, listening, RESTORED, STORE, takeFirst } from './stores.js';

const qemu = (job: Job, image: string, codec: 'zstd' | 'zlib' | 'none'): Contender => {
  const { scratch } = job;
  const out = scratch.path('peer.qcow2');
  return {
    name: 'qemu-img',
    prepare: () => {
      scratch.drop('peer.qcow2');
      settle(job, image);
    },
    commands: () => [qemuToQcow2(image, out, codec)],
    outputs: () => [out],
    prove: async () => {
      await execute(scratch, qemuCompare(image, out));
      scratch.drop('peer.qcow2');
    },
  };
};

const archiving = (job: Job, image: string, archiver: Archiver): Contender => {
  const { scratch } = job;
  const { name, folder } = archiver;
  return {
    name,
    prepare: async () => {
      await archiver.begin();
      settle(job, image);
    },
    commands: () => [archiver.put(image, FIRST_TAG)],
    outputs: () => [folder],
    prove: async () => {
      const out = scratch.path(RESTORED);
      await execute(scratch, archiver.get(image, FIRST_TAG, out));
      await checkFile(name, image, out);
      scratch.drop(RESTORED);
      archiver.drop();
    },
  };
};

const copying = (job: Job, image: string, name: 'cp' | 'dd'): Contender => {
  const { scratch } = job;
  const out = scratch.path('peer.img');
  const copy = name === 'cp' ? cpSparse : ddCopy;
  return {
    name,
    prepare: () => {
      scratch.drop('peer.img');
      settle(job, image);
    },
    commands: () => [copy(image, out)],
    outputs: () => [out],
    prove: async () => {
      await checkFile(name, image, out);
      scratch.drop('peer.img');
    },
  };
};

interface Case {
  readonly name: 'first' | 'fast' | 'zlib' | 'none';
  readonly codec: 'zstd' | 'zlib' | 'none';
  /** Undefined: the codec's default. */
  readonly level?: number;
  readonly bytes: number;
  readonly title: string;
  readonly peers: readonly string[];
  readonly goals: readonly Goal[];
}

const peersFor = (job: Job, image: string, { codec, peers }: Case): Contender[] => {
  const keepers = archivers(job, peers);
  return peers.flatMap((name): Contender[] => {
    if (!job.has(name)) return [];
    if (name === 'qemu-img') return [qemu(job, image, codec)];
    if (name === 'cp' || name === 'dd') return [copying(job, image, name)];
    return keepers.filter((one) => one.name === name).map((one) => archiving(job, image, one));
  });
};

/** `size`: of the image, in bytes. */
const limitsFor = (
  job: Job,
  image: string,
  size: number,
  store: string,
  { codec, level }: Case,
): Runner[] => [
  ...(codec === 'none' ? [] : [codecLimit('encode', codec, image, distinctClusters(image), level)]),
  readLimit(job, () => image),
  copyLimit(size),
  writeLimit(job, () => bytesOf(store), size),
];

const measure = async (job: Job, what: Case): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(what.bytes);
  const image = subject.path;
  const store = scratch.path(STORE);
  const level = what.level === undefined ? [] : ['--level', String(what.level)];
  let digest = '';
  const own = listening({
    name: 'nvsnap',
    prepare: () => {
      scratch.drop(STORE);
      settle(job, image);
    },
    commands: () => [takeFirst(job, image, store, what.codec, ...level)],
    outputs: () => [store],
    prove: async () => {
      digest = await checkSnapshot(job, image, store, FIRST_TAG);
    },
  });
  const contenders = [own.contender, ...peersFor(job, image, what)];
  const { laps, limits } = await race(scratch, contenders, {
    rounds: options.rounds,
    work: subject.size,
    limits: limitsFor(job, image, subject.size, store, what),
  });
  scratch.drop(STORE);
  return resultOf(
    { level: 'commands', case: what.name },
    {
      title: what.title,
      laps,
      limits,
      missing: what.peers.filter((name) => !job.has(name)).map(notInstalled),
      verified: laps.map(({ name }) => name),
      digest,
      insight: own.insight(),
    },
    what.goals,
  );
};

export const first = (job: Job): Promise<Result> =>
  measure(job, {
    name: 'first',
    codec: 'zstd',
    bytes: job.options.size,
    title: 'first take, zstd',
    peers: ['qemu-img', 'zstd', 'borg', 'restic', 'casync'],
    goals: [
      { beside: 'qemu-img', ratio: 2.5, bytes: 1.05 },
      { beside: 'limit: zstd encode alone', ratio: 0.85 },
    ],
  });

/** The level at which a mixed image, with its copies, becomes about as large as by qemu-img's level, which is 3. */
const FAST_LEVEL = -2;

export const fast = (job: Job): Promise<Result> =>
  measure(job, {
    name: 'fast',
    codec: 'zstd',
    level: FAST_LEVEL,
    bytes: job.options.size,
    title: `first take, zstd, level ${FAST_LEVEL}`,
    peers: ['qemu-img'],
    goals: [{ beside: 'qemu-img', ratio: 2.5, bytes: 1.05 }],
  });

export const zlib = (job: Job): Promise<Result> =>
  measure(job, {
    name: 'zlib',
    codec: 'zlib',
    bytes: job.options.size,
    title: 'first take, zlib',
    peers: ['qemu-img'],
    goals: [],
  });

export const none = (job: Job): Promise<Result> =>
  measure(job, {
    name: 'none',
    codec: 'none',
    bytes: job.options.big,
    title: 'first take, no compression',
    peers: ['qemu-img', 'cp', 'dd'],
    goals: [{ beside: 'qemu-img', ratio: 1.2 }],
  });
