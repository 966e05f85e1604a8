// Memory of a take, restore or bulk run: done in a process of its own, which reads its own peak.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import type { RestoreOptions, TakeOptions } from '../../snapshot/index.js';

const CHILD = fileURLToPath(new URL('./footprint-child.js', import.meta.url));
const MiB = 2 ** 20;

/** What the project promises: peak resident memory, whatever the image's size. */
const PEAK_BYTES = 400 * MiB;
/** lz4-napi allocates every block it gives back; they are collected, but later. */
const PEAK_BYTES_LZ4 = 512 * MiB;
/** Most by which memory may differ between one third of a run and its end. */
const DRIFT_BYTES = 64 * MiB;

/** Plain data, so that it can go to another process. */
export type FootprintJob =
  | { readonly verb: 'take'; readonly options: Omit<TakeOptions, 'events' | 'signal'> }
  | { readonly verb: 'restore'; readonly options: Omit<RestoreOptions, 'events' | 'signal'> }
  /** A bulk run of the jobs in a file. */
  | { readonly verb: 'bulk'; readonly jobs: string };

/** Resident bytes when so much of the image was done. */
export interface MemorySample {
  readonly doneBytes: number;
  readonly rss: number;
}

export interface Footprint {
  /** Highest resident bytes, as the process's own status says. */
  readonly peak: number;
  readonly maxRss: number;
  /** Bytes of the image that a take has read. */
  readonly readBytes?: number;
  /** In order; the last is of the end of the run. */
  readonly samples: readonly MemorySample[];
}

export const footprint = async (job: FootprintJob): Promise<Footprint> => {
  const { stdout } = await promisify(execFile)(process.execPath, [CHILD, JSON.stringify(job)], {
    maxBuffer: 64 * MiB,
  });
  return JSON.parse(stdout) as Footprint;
};

/** Growth of resident bytes from one third of `dataBytes` to the end. */
const driftOf = ({ samples }: Footprint, dataBytes: number): number | undefined => {
  const last = samples.at(-1);
  // Holes count as done before the first batch, so what counts is the distance to the end.
  const third = samples.find(
    ({ doneBytes }) => last && last.doneBytes - doneBytes <= (dataBytes * 2) / 3,
  );
  return last && third && last.rss - third.rss;
};

const inMiB = (bytes: number): string => `${Math.round(bytes / MiB)} MiB`;

/**
 * Asserts that the job stays within the promised memory and does not grow while it runs. The image
 * has `dataBytes` that are no holes.
 */
export const assertFootprint = async (
  t: Test,
  name: string,
  job: FootprintJob,
  { dataBytes, codec }: { dataBytes: number; codec: string },
): Promise<void> => {
  const measured = await footprint(job);
  const limit = codec === 'lz4' ? PEAK_BYTES_LZ4 : PEAK_BYTES;
  const { peak, maxRss } = measured;
  const drift = driftOf(measured, dataBytes) ?? Number.NaN;
  t.comment(`${name}: peak ${inMiB(peak)}, ${inMiB(drift)} more at the end than at one third`);
  t.ok(maxRss >= peak * 0.9, `${name}: two ways to ask for the peak agree (${inMiB(maxRss)})`);
  t.ok(peak <= limit, `${name}: peak ${inMiB(peak)}, at most ${inMiB(limit)}`);
  t.ok(Math.abs(drift) <= DRIFT_BYTES, `${name}: ${inMiB(drift)} of drift`);
};
