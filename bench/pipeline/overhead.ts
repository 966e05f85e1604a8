// What the engine costs beside work: the stages of a first take, each in a pool of its own and joined by streams, beside
// the same stages fused in one call, in as many threads as there are processors. No allocator, no tables, no commit.

import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { formatSize, MiB } from '../../disk/index.js';
import { Pools, SlabPool, type StageUse, type Step } from '../../pipeline/index.js';
import * as stages from '../../stages/index.js';
import type { Job } from '../job.js';
import { digestOf } from '../measure/check.js';
import { inTurn, type Runner } from '../measure/race.js';
import { CLUSTER } from '../options.js';
import { type Insight, type Result, resultOf } from '../result.js';
import { batchesIn, runLine } from '../stages/stage-line.js';
import type { FusedPart } from './fused.js';
import { giveSpace } from './space.js';

const FUSED = new URL('./fused.js', import.meta.url).href;
const DIGESTS = { algorithm: 'xxh3-128', seed: Buffer.alloc(8) } as const;
/** The usual size first: the goal is for it. */
const BATCH_SIZES = [8 * MiB, 4 * MiB, 2 * MiB, MiB];
/** At the usual size, at most 8 % more. */
const GOAL = 1 / 1.08;

/** The file as it is told apart: what was written, not the room between. */
const digestOfFile = (path: string): string => {
  const fd = fs.openSync(path, 'r');
  const chunk = Buffer.alloc(4 * MiB);
  const parts: string[] = [];
  try {
    for (let got = fs.readSync(fd, chunk); got > 0; got = fs.readSync(fd, chunk)) {
      parts.push(digestOf(chunk.subarray(0, got)));
    }
  } finally {
    fs.closeSync(fd);
  }
  return digestOf(...parts);
};

/** The stages of a first take in order, with as many threads as a take gives them. */
const takeStages = (path: string, fd: number, out: { path: string; fd: number }): StageUse[] => {
  const { size } = fs.fstatSync(fd);
  const crew = (threads: number): stages.Crew => ({ threads, early: true });
  const all = availableParallelism();
  return [
    stages.scan({ path, fd, size, seekable: true, digests: DIGESTS, dependent: false }, crew(1)),
    stages.dedup(DIGESTS, crew(1)),
    stages.pad(crew(1)),
    stages.compress({ codec: 'zstd' }, crew(all)),
    stages.write(out, crew(1)),
  ];
};

/** In a line every batch takes every hop, and no stage is helped by the main thread. */
const asLine = (uses: readonly StageUse[]): Step[] => {
  const plain = uses.map(
    ({ name, module, threads, options }): StageUse => ({
      name,
      module,
      threads,
      options,
      early: true,
    }),
  );
  return [...plain.slice(0, -1), { name: 'space', main: giveSpace }, ...plain.slice(-1)];
};

const asOne = (uses: readonly StageUse[]): Step[] => [
  {
    name: 'fused',
    module: FUSED,
    threads: availableParallelism(),
    options: uses.map(({ module, options }): FusedPart => ({ module, options })),
    early: true,
  },
];

export const overhead = async (job: Job): Promise<readonly Result[]> => {
  const { scratch, options } = job;
  const subject = await job.subject(options.size);
  const image = fs.openSync(subject.path, 'r');
  const outPath = scratch.path('overhead.out');
  const out = fs.openSync(outPath, 'w+');
  const uses = takeStages(subject.path, image, { path: outPath, fd: out });
  const pools = new Pools();
  const results: Result[] = [];
  try {
    for (const batchBytes of BATCH_SIZES.filter((bytes) => bytes <= subject.size)) {
      const layout = {
        clusterSize: CLUSTER,
        clusters: batchBytes / CLUSTER,
        packedBytes: batchBytes,
      };
      const digests = new Map<string, string>();
      let insight: Insight | undefined;
      const runner = (name: string, steps: readonly Step[]): Runner => {
        const threads = steps.reduce(
          (sum, step) => sum + ('threads' in step ? step.threads : 0),
          0,
        );
        const slabs = new SlabPool(layout, 2 * threads + 2);
        return {
          name,
          work: subject.size,
          run: async () => {
            fs.ftruncateSync(out, 0);
            const batches = batchesIn(subject.path, batchBytes, subject.size);
            const done = await runLine({ slabs, steps, batches, batchBytes, pools });
            if (name === 'pools') insight = done.insight;
            digests.set(name, digestOfFile(outPath));
            return done.milliseconds;
          },
        };
      };
      const runners = [runner('pools', asLine(uses)), runner('fused', asOne(uses))];
      for (const { run } of runners) await run(0);
      const laps = await inTurn(runners, options.rounds);
      const [digest = ''] = digests.values();
      if (digests.get('fused') !== digest) throw new Error('the two ways wrote different files');
      results.push(
        resultOf(
          { level: 'pipeline', case: 'overhead' },
          {
            title: `five pools and streams beside one call, batches of ${formatSize(batchBytes)}`,
            laps,
            verified: laps.map(({ name }) => name),
            digest,
            insight,
          },
          batchBytes === BATCH_SIZES[0] ? [{ beside: 'fused', ratio: GOAL }] : [],
        ),
      );
    }
    return results;
  } finally {
    await pools.close();
    for (const fd of [image, out]) fs.closeSync(fd);
    scratch.drop('overhead.out');
  }
};
