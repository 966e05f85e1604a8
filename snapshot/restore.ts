// restore: any snapshot back to a file or device, whatever came before or after it.
//
//     map ─▶ fetch ─▶ decode ─▶ verify ─▶ deliver

import { openDigester } from '../disk/index.js';
import { run, type StageReport, type Step } from '../pipeline/index.js';
import { DigestReader, type Snapshot, type Store } from '../qcow2/index.js';
import * as stages from '../stages/index.js';
import { SnapshotMap } from './map.js';
import { usableSnapshot } from './names.js';
import { type Output, openOutput } from './output.js';
import {
  batchBytesFor,
  checkThreadNames,
  isLarge,
  planCrews,
  planSlabs,
  readingLayout,
} from './plan.js';
import { type RunOptions, withPools } from './run-options.js';
import { asOwn, codecOf, decoderOf, imageSizeOf, withStore } from './store.js';

export interface RestoreOptions extends RunOptions {
  readonly store: string;
  /** A tag, "#id", uuid prefix or "latest". */
  readonly snapshot: string;
  /** Path of the file to make, or of a block device. */
  readonly output: string;
  /** Replace an existing file, or write to a block device. */
  readonly force?: boolean | undefined;
}

/** What a restore did. Sizes in bytes, times in milliseconds. */
export interface RestoreResult {
  readonly store: string;
  readonly id: string;
  readonly tag: string;
  readonly output: string;
  readonly imageBytes: number;
  /** Image bytes that were stored; the rest read as zeros and were left as holes. */
  readonly dataBytes: number;
  /** False when the snapshot has no digests to hold its bytes against: another program made it. */
  readonly verified: boolean;
  readonly elapsedMs: number;
  readonly stages: readonly StageReport[];
}

export const RESTORE_STAGES = ['fetch', 'decode', 'verify', 'deliver'] as const;

/** The reverse line of stages. */
const stepsFor = (
  store: Store,
  options: RestoreOptions,
  output: Output,
  verified: boolean,
  work: { readonly bytes: number; readonly batches: number },
): Step[] => {
  const crew = planCrews(options.threads, work.batches, isLarge(work.bytes));
  const packed = codecOf(store) !== 'none';
  const { facts } = store;
  const digests = verified && facts ? { algorithm: facts.digest, seed: facts.seed } : undefined;
  return [
    stages.fetch(store.file.spec, crew('fetch', 1, true)),
    stages.decode(
      { codec: decoderOf(store), digests },
      crew('decode', Number.POSITIVE_INFINITY, packed),
    ),
    ...(digests ? [stages.verify(digests, crew('verify', 1, false))] : []),
    stages.deliver(
      { output: output.spec, sparse: output.sparse },
      crew('deliver', packed ? 1 : 2, true),
    ),
  ];
};

/** Moves one snapshot's bytes to an open output. */
const pour = async (
  store: Store,
  snapshot: Snapshot,
  output: Output,
  options: RestoreOptions,
): Promise<{ dataBytes: number; verified: boolean; stages: readonly StageReport[] }> => {
  const { clusterSize } = store.geometry;
  const size = imageSizeOf(store, snapshot);
  const own = asOwn(snapshot);
  const digests =
    own &&
    store.facts &&
    new DigestReader(store, own, openDigester(store.facts.digest, store.facts.seed));
  const verified = digests !== undefined;
  if (!verified) {
    options.events?.emit(
      'notice',
      'This snapshot was made by another program and has no digests: its bytes cannot be verified.',
    );
  }
  const batchBytes = batchBytesFor(clusterSize, size, options.memory);
  const batches = Math.ceil(size / batchBytes);
  const steps = stepsFor(store, options, output, verified, { bytes: size, batches });
  const slabs = planSlabs(readingLayout(clusterSize, batchBytes), steps, batches, options.memory);
  const map = new SnapshotMap(store, snapshot, size, digests);
  const reports = await withPools(options, (pools) =>
    run({
      verb: 'restore',
      slabs,
      pools,
      source: (skip) => map.batches(slabs, skip),
      steps,
      sink: () => {},
      totalBytes: size,
      events: options.events,
      signal: options.signal,
    }),
  );
  return { dataBytes: size - map.zeroBytes, verified, stages: reports };
};

/** Restores a snapshot. Rejects with a Fault, and then leaves no half-written output behind. */
export const restore = (options: RestoreOptions): Promise<RestoreResult> => {
  checkThreadNames(options.threads, RESTORE_STAGES);
  const began = performance.now();
  return withStore(
    options.store,
    async (store) => {
      const snapshot = usableSnapshot(store, options.snapshot);
      const size = imageSizeOf(store, snapshot);
      const output = openOutput(options.output, size, options.force ?? false);
      try {
        const done = await pour(store, snapshot, output, options);
        output.finish();
        return {
          store: options.store,
          id: snapshot.entry.id,
          tag: snapshot.entry.tag,
          output: options.output,
          imageBytes: size,
          ...done,
          elapsedMs: Math.round(performance.now() - began),
        };
      } catch (error) {
        output.discard();
        throw error;
      }
    },
    (store) => {
      // Read in the same generation as the snapshot table: a writer may publish meanwhile.
      store.l1(usableSnapshot(store, options.snapshot).entry);
    },
  );
};
