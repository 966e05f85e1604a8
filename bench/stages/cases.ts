// Each stage alone, with pools of one thread and more. What it works on lies in its slabs already, but for scan and
// fetch, which read it; so the figures are those of the stage, its threads and one hop.

import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { DIGEST_BYTES, type FileSpec, openDigester } from '../../disk/index.js';
import {
  type Batch,
  Kind,
  Pools,
  type SlabLayout,
  SlabPool,
  type StageUse,
} from '../../pipeline/index.js';
import * as stages from '../../stages/index.js';
import type { Job } from '../job.js';
import { digestOf } from '../measure/check.js';
import { inTurn, type Runner } from '../measure/race.js';
import { type CaseName, CLUSTER } from '../options.js';
import { type Axis, type Insight, type Result, resultOf } from '../result.js';
import { batchBytesFor, batchesIn, runLine } from './stage-line.js';

const DIGESTS = { algorithm: 'xxh3-128', seed: Buffer.alloc(8) } as const;
const CODEC = { codec: 'zstd' } as const;
const AXIS: Axis = { label: 'threads of the stage', kind: 'count' };
/** Two batches for each thread, and one each for source and sink. */
const slabsFor = (threads: number): number => 2 * threads + 2;

/** What the stages of a case share. */
interface Ground {
  readonly image: FileSpec;
  readonly size: number;
  readonly batchBytes: number;
  readonly batches: number;
  /** What every slab holds, for stages that do not read it themselves. */
  readonly sample: Buffer;
  /** A file that is written to. */
  readonly file: FileSpec;
}

/** One stage, and what makes batches ready for it. */
interface StageCase {
  readonly name: CaseName;
  readonly title: string;
  use(ground: Ground, crew: stages.Crew): StageUse;
  /** Fills a slab, once. */
  fill?(batch: Batch, ground: Ground): void | Promise<void>;
  /** Makes a batch ready, each time. */
  ready?(batch: Batch): void;
  /** Throws unless the stage did what it should; what it made. */
  prove(batch: Batch, ground: Ground): readonly Uint8Array[];
}

const fillData = (batch: Batch, { sample }: Ground): void => {
  sample.copy(batch.data);
};

/** As many bytes as a batch has, a cluster here and a cluster there: every slab gets these, whoever fills it. */
const sampleOf = (fd: number, size: number, bytes: number): Buffer => {
  const sample = Buffer.alloc(bytes);
  const step = Math.floor(size / bytes) * CLUSTER;
  for (let at = 0; at < bytes; at += CLUSTER) {
    fs.readSync(fd, sample, at, CLUSTER, (at / CLUSTER) * step);
  }
  return sample;
};

/** Encodes the clusters of a slab as compress does; lengths and starts stay in it. */
const pack = async (batch: Batch): Promise<void> => {
  const codec = await stages.openCodec(CODEC, CLUSTER);
  let at = 0;
  for (let i = 0; i < batch.count; i += 1) {
    const into = batch.packed.subarray(at, at + CLUSTER - 1);
    batch.lengths[i] = codec.encode(batch.cluster(i), into);
    batch.starts[i] = at;
    at += batch.lengths[i] as number;
  }
};

/** What was encoded is packed; where that failed, the cluster is plain. */
const markPacked = (batch: Batch): void => {
  for (let i = 0; i < batch.count; i += 1) {
    const packed = batch.lengths[i] !== 0;
    batch.kinds[i] = packed ? Kind.packed : Kind.plain;
    batch.places[i] = batch.offset + (packed ? (batch.starts[i] as number) : i * CLUSTER);
  }
};

const digestsOf = (batch: Batch): Buffer => {
  const digester = openDigester(DIGESTS);
  const digests = Buffer.alloc(batch.count * DIGEST_BYTES);
  for (let i = 0; i < batch.count; i += 1) {
    digester.digest(batch.content(i), digests, i * DIGEST_BYTES);
  }
  return digests;
};

const expect = (right: boolean, what: string): void => {
  if (!right) throw new Error(`${what}: the stage did something else than it should`);
};

const dataOf = (batch: Batch): Buffer => batch.data.subarray(0, batch.length);

const proveData = (batch: Batch, ground: Ground): readonly Uint8Array[] => {
  expect(dataOf(batch).equals(ground.sample), 'data');
  return [dataOf(batch)];
};

const STAGES: readonly StageCase[] = [
  {
    name: 'stage-scan',
    title: 'reading and digesting',
    use: ({ image, size }, crew) =>
      stages.scan({ ...image, size, seekable: true, digests: DIGESTS, dependent: false }, crew),
    prove: (batch, { image }) => {
      const bytes = Buffer.alloc(batch.length);
      fs.readSync(image.fd, bytes, 0, bytes.length, batch.offset);
      expect(dataOf(batch).equals(bytes), 'scan');
      return [batch.digests.subarray(0, batch.count * DIGEST_BYTES)];
    },
  },
  {
    name: 'stage-dedup',
    title: 'digesting and comparing',
    use: (_ground, crew) => stages.dedup(DIGESTS, crew),
    fill: (batch, ground) => {
      fillData(batch, ground);
      batch.known.fill(0xff);
    },
    prove: (batch) => {
      expect(batch.live === batch.count, 'dedup');
      return [batch.digests.subarray(0, batch.count * DIGEST_BYTES)];
    },
  },
  {
    name: 'stage-compress',
    title: 'zstd level 1',
    use: (_ground, crew) => stages.compress(CODEC, crew),
    fill: fillData,
    prove: (batch) => {
      const payloads: Uint8Array[] = [];
      for (let i = 0; i < batch.count; i += 1) {
        if (batch.kinds[i] !== Kind.packed) continue;
        const start = batch.starts[i] as number;
        payloads.push(batch.packed.subarray(start, start + (batch.lengths[i] as number)));
      }
      return payloads;
    },
  },
  {
    name: 'stage-write',
    title: 'payloads into a file',
    use: ({ file }, crew) => stages.write(file, crew),
    fill: async (batch, ground) => {
      fillData(batch, ground);
      await pack(batch);
    },
    ready: markPacked,
    prove: (batch, { file }) => {
      const written: Uint8Array[] = [];
      for (let i = 0; i < batch.count; i += 1) {
        if (batch.kinds[i] !== Kind.packed) continue;
        const start = batch.starts[i] as number;
        const payload = batch.packed.subarray(start, start + (batch.lengths[i] as number));
        const found = Buffer.alloc(payload.length);
        fs.readSync(file.fd, found, 0, found.length, batch.places[i] as number);
        expect(found.equals(payload), 'write');
        written.push(found);
      }
      return written;
    },
  },
  {
    name: 'stage-fetch',
    title: 'plain clusters from a file',
    use: ({ image }, crew) => stages.fetch(image, crew),
    ready: (batch) => {
      for (let i = 0; i < batch.count; i += 1) batch.places[i] = batch.offset + i * CLUSTER;
    },
    prove: (batch, { image }) => {
      const bytes = Buffer.alloc(batch.length);
      fs.readSync(image.fd, bytes, 0, bytes.length, batch.offset);
      expect(dataOf(batch).equals(bytes), 'fetch');
      return [bytes];
    },
  },
  {
    name: 'stage-decode',
    title: 'zstd, with digests',
    use: (_ground, crew) => stages.decode({ ...CODEC, digests: DIGESTS }, crew),
    fill: async (batch, ground) => {
      fillData(batch, ground);
      await pack(batch);
    },
    ready: markPacked,
    prove: proveData,
  },
  {
    name: 'stage-verify',
    title: 'digesting and comparing',
    use: (_ground, crew) => stages.verify(DIGESTS, crew),
    fill: (batch, ground) => {
      fillData(batch, ground);
      digestsOf(batch).copy(batch.known);
    },
    prove: (batch) => {
      const size = batch.count * DIGEST_BYTES;
      expect(batch.digests.compare(batch.known, 0, size, 0, size) === 0, 'verify');
      return [batch.digests.subarray(0, size)];
    },
  },
  {
    name: 'stage-deliver',
    title: 'clusters into a file, zeros as holes',
    use: ({ file, batches, batchBytes }, crew) =>
      stages.deliver(
        { output: file, manner: 'fresh', start: 0, end: batches * batchBytes, shift: 0 },
        crew,
      ),
    fill: fillData,
    prove: (batch, { file }) => {
      const found = Buffer.alloc(batch.length);
      fs.readSync(file.fd, found, 0, found.length, batch.offset);
      expect(found.equals(dataOf(batch)), 'deliver');
      return [found];
    },
  },
];

/** Slabs for so many threads, filled. */
const filledSlabs = async (one: StageCase, ground: Ground, threads: number): Promise<SlabPool> => {
  const { batchBytes, batches } = ground;
  const layout: SlabLayout = {
    clusterSize: CLUSTER,
    clusters: batchBytes / CLUSTER,
    packedBytes: batchBytes + 2 * CLUSTER,
  };
  const slabs = new SlabPool(layout, Math.min(slabsFor(threads), batches));
  const leased: Batch[] = [];
  while (slabs.idle > 0) leased.push(await slabs.lease());
  for (const batch of leased) {
    batch.begin(0, batchBytes);
    await one.fill?.(batch, ground);
  }
  for (const batch of leased) slabs.release(batch);
  return slabs;
};

const measure = async (job: Job, one: StageCase): Promise<Result> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.size);
  const path = scratch.path('stage.out');
  const [imageFd, fileFd] = [fs.openSync(subject.path, 'r'), fs.openSync(path, 'w+')];
  const batchBytes = batchBytesFor(subject.path);
  const ground: Ground = {
    image: { path: subject.path, fd: imageFd },
    size: subject.size,
    batchBytes,
    batches: batchesIn(subject.path, batchBytes),
    sample: sampleOf(imageFd, subject.size, batchBytes),
    file: { path, fd: fileFd },
  };
  const counts = Array.from({ length: availableParallelism() }, (_, i) => i + 1);
  const digests = new Set<string>();
  let insight: Insight | undefined;
  const pools: Pools[] = [];
  try {
    const runners: Runner[] = [];
    for (const threads of counts) {
      const slabs = await filledSlabs(one, ground, threads);
      const own = new Pools({ threads });
      pools.push(own);
      const crew = { threads, early: true };
      const run = async (prove: boolean): Promise<number> => {
        let proven = !prove;
        const done = await runLine({
          slabs,
          // The main thread is not to help.
          steps: [{ ...one.use(ground, crew), beginsHere: false }],
          batches: ground.batches,
          batchBytes,
          pools: own,
          ...(one.ready ? { ready: one.ready } : {}),
          sink: (batch) => {
            if (proven) return;
            proven = true;
            digests.add(digestOf(...one.prove(batch, ground)));
          },
        });
        if (threads === counts.at(-1)) insight = done.insight;
        return done.milliseconds;
      };
      // Threads start, and what they make is looked at, before anything is timed.
      await run(true);
      runners.push({
        name: one.name,
        at: threads,
        work: ground.batches * batchBytes,
        run: () => run(false),
      });
    }
    const laps = await inTurn(runners, options.rounds);
    return resultOf(
      { level: 'stages', case: one.name },
      {
        title: one.title,
        axis: AXIS,
        laps,
        verified: laps.map(({ at }) => `with ${at}`),
        digest: [...digests].join(),
        insight,
      },
    );
  } finally {
    for (const own of pools) await own.close();
    for (const fd of [imageFd, fileFd]) fs.closeSync(fd);
    scratch.drop('stage.out');
  }
};

/** Every stage's case by its name. */
export const stageCases: Readonly<Record<string, (job: Job) => Promise<Result>>> =
  Object.fromEntries(STAGES.map((one) => [one.name, (job: Job) => measure(job, one)]));
