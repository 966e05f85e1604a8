// Passes over tables, which a take of a large image makes for every cluster of it, changed or not.

import { DIGEST_BYTES, KiB } from '../../disk/index.js';
import { kindOf, L2Table, Table } from '../../qcow2/index.js';
import type { Job } from '../job.js';
import { digestOf } from '../measure/check.js';
import type { Axis, Result } from '../result.js';
import { Random } from '../workload/random.js';
import { type Kernel, kernelCase } from './kernels.js';

const AXIS: Axis = { label: 'pass', kind: 'names' };
/** Entries of an L2 table of a 64-KiB cluster, and bytes of it. */
const ENTRIES = 8192;
const TABLE_BYTES = 64 * KiB;
const WORD_BYTES = 8;

/** A table as a store has them: most clusters stored, some zero, some not there. */
const rawTable = (seed: number): Buffer => {
  const random = new Random(seed);
  const raw = Buffer.alloc(TABLE_BYTES);
  for (let i = 0; i < ENTRIES; i += 1) {
    const kind = random.share();
    if (kind < 0.1) continue;
    if (kind < 0.3) raw.writeUInt32BE(1, i * WORD_BYTES + 4);
    else raw.writeUInt32BE((random.between(1, 0xffff) << 16) >>> 0, i * WORD_BYTES + 4);
  }
  return raw;
};

export const tables = (job: Job): Promise<Result> => {
  const raw = rawTable(job.options.seed);
  const table = L2Table.decode(raw);
  const refcounts = new Uint32Array(4 * ENTRIES);
  const [known, digests] = [
    Buffer.alloc(ENTRIES * DIGEST_BYTES, 1),
    Buffer.alloc(ENTRIES * DIGEST_BYTES, 1),
  ];
  let encoded: Buffer = Buffer.alloc(0);
  let stored = 0;
  let same = false;
  const kernels: Kernel[] = [
    {
      name: 'one thread',
      at: 'decode an L2 table',
      work: TABLE_BYTES,
      run: () => {
        Table.decode(raw);
      },
    },
    {
      name: 'one thread',
      at: 'encode an L2 table',
      work: TABLE_BYTES,
      run: () => {
        encoded = table.encode();
      },
    },
    {
      name: 'one thread',
      at: 'what each entry is',
      work: TABLE_BYTES,
      run: () => {
        stored = 0;
        for (let i = 0; i < ENTRIES; i += 1) {
          if (kindOf(table.hi(i), table.lo(i)) === 'plain') stored += 1;
        }
      },
    },
    {
      name: 'one thread',
      at: 'one more way to each cluster',
      work: refcounts.byteLength,
      run: () => {
        for (let i = 0; i < refcounts.length; i += 1) refcounts[i] = (refcounts[i] as number) + 1;
      },
    },
    {
      name: 'one thread',
      at: 'compare digests of equal clusters',
      work: digests.length,
      run: () => {
        same = digests.compare(known) === 0;
      },
    },
  ];
  return kernelCase(job, 'tables', 'passes over tables', AXIS, kernels, () => {
    if (!encoded.equals(raw)) throw new Error('a table is encoded to something else');
    if (!same || refcounts.some((count) => count !== refcounts[0]))
      throw new Error('a pass went wrong');
    return digestOf(encoded, `${stored}`);
  });
};
