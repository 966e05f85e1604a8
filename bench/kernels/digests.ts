// What tells clusters apart: the test for zeros, and the digests.

import { DIGEST_BYTES, type DigestAlgorithm, openDigester } from '../../disk/index.js';
import type { Job } from '../job.js';
import { digestOf } from '../measure/check.js';
import type { Result } from '../result.js';
import { CLUSTER_SIZES, type Kernel, kernelCase, SIZE_AXIS, sample } from './kernels.js';

/** The test for zeros, at its worst: all of a cluster is zero. */
export const zeroTest = (job: Job): Promise<Result> => {
  const made: boolean[] = [];
  const kernels = CLUSTER_SIZES.map((clusterSize): Kernel => {
    const bytes = Buffer.alloc(4 * CLUSTER_SIZES.at(-1)!);
    const zeros = Buffer.alloc(clusterSize);
    return {
      name: 'zero test',
      at: clusterSize,
      work: bytes.length,
      run: () => {
        let all = true;
        for (let at = 0; at < bytes.length; at += clusterSize) {
          all &&= bytes.subarray(at, at + clusterSize).equals(zeros);
        }
        made.push(all);
      },
    };
  });
  return kernelCase(job, 'zero-test', 'test for zeros', SIZE_AXIS, kernels, () => {
    if (!made.every((all) => all)) throw new Error('zeros were taken for data');
    return digestOf('zeros');
  });
};

const ALGORITHMS: readonly DigestAlgorithm[] = ['xxh3-128', 'blake3'];
const SEED = Buffer.from('nvsnap b');

export const digests = async (job: Job): Promise<Result> => {
  const bytes = await sample(job);
  const results: Buffer[] = [];
  const kernels = ALGORITHMS.flatMap((algorithm) => {
    const digester = openDigester({ algorithm, seed: SEED });
    return CLUSTER_SIZES.map((clusterSize): Kernel => {
      const into = Buffer.alloc((bytes.length / clusterSize) * DIGEST_BYTES);
      results.push(into);
      return {
        name: algorithm,
        at: clusterSize,
        work: bytes.length,
        run: () => {
          digester.fingerprints(bytes, clusterSize, into, 0);
        },
      };
    });
  });
  return kernelCase(job, 'digests', 'digests', SIZE_AXIS, kernels, () => digestOf(...results));
};
