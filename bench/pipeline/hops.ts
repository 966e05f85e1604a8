// What a hop costs: batches without work go through lines of stages that do nothing. A second figure shows what that
// is per byte, for batches of several sizes.

import { formatSize, GiB, MiB, roundUp } from '../../disk/index.js';
import { Pools, SlabPool, type Step } from '../../pipeline/index.js';
import type { Job } from '../job.js';
import { digestOf } from '../measure/check.js';
import { inTurn, type Runner } from '../measure/race.js';
import { CLUSTER } from '../options.js';
import { type Result, resultOf } from '../result.js';
import { runLine } from '../stages/stage-line.js';

const MODULE = new URL('./pass.js', import.meta.url).href;
const MOST_STAGES = 5;
/** As many batches as this has of 8 MiB, or as the image has, go through in a round. */
const MOST_BYTES = GiB;
const BATCH_SIZES = [MiB, 2 * MiB, 4 * MiB, 8 * MiB, 16 * MiB];
const SLABS = 2 * MOST_STAGES + 2;

const passStep = (number: number): Step => ({
  name: `pass ${number}`,
  module: MODULE,
  options: {},
  threads: 1,
});

/** Runs `batches` batches through `count` stages; resolves to milliseconds. */
const pass = async (
  pools: Pools,
  slabs: SlabPool,
  count: number,
  batches: number,
  batchBytes: number,
): Promise<number> => {
  let arrived = 0;
  const { milliseconds } = await runLine({
    slabs,
    steps: Array.from({ length: count }, (_, i) => passStep(i + 1)),
    batches,
    batchBytes,
    pools,
    sink: () => {
      arrived += 1;
    },
  });
  if (arrived !== batches) throw new Error(`${arrived} of ${batches} batches arrived`);
  return milliseconds;
};

const slabsOf = (bytes: number): SlabPool =>
  new SlabPool({ clusterSize: CLUSTER, clusters: bytes / CLUSTER, packedBytes: 0 }, SLABS);

/** By stages: the time of all batches; by batch size: the time of the same bytes through five stages. */
export const hops = async (job: Job): Promise<readonly Result[]> => {
  const pools = new Pools();
  const small = slabsOf(MiB);
  const bytes = roundUp(Math.min(MOST_BYTES, job.options.size), 16 * MiB);
  const batches = bytes / (8 * MiB);
  try {
    await pass(pools, small, MOST_STAGES, batches, MiB);
    const byStages = Array.from(
      { length: MOST_STAGES },
      (_, i): Runner => ({
        name: `${batches} batches`,
        at: i + 1,
        work: undefined,
        run: () => pass(pools, small, i + 1, batches, MiB),
      }),
    );
    const bySize = BATCH_SIZES.map((batchBytes): Runner => {
      const slabs = slabsOf(batchBytes);
      return {
        name: `${formatSize(bytes)} through ${MOST_STAGES} stages`,
        at: batchBytes,
        work: bytes,
        run: () => pass(pools, slabs, MOST_STAGES, bytes / batchBytes, batchBytes),
      };
    });
    const [stages, sizes] = [
      await inTurn(byStages, job.options.rounds),
      await inTurn(bySize, job.options.rounds),
    ];
    const verified = ['every batch arrived'];
    return [
      resultOf(
        { level: 'pipeline', case: 'hops' },
        {
          title: 'batches without work, by number of stages',
          axis: { label: 'stages', kind: 'count' },
          laps: stages,
          verified,
          digest: digestOf(`${batches * MOST_STAGES}`),
        },
      ),
      resultOf(
        { level: 'pipeline', case: 'hops' },
        {
          title: 'bytes without work through five stages, by size of the batches',
          axis: { label: 'batch', kind: 'bytes' },
          laps: sizes,
          verified,
          digest: digestOf(`${bytes}`),
        },
      ),
    ];
  } finally {
    await pools.close();
  }
};
