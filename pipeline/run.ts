// Runs a line of stages: source → lane → lane → … → sink, joined by stream.pipeline.

import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Fault, fault } from '../disk/index.js';
import { ProgressMeter, type RunEmitter } from './events.js';
import { Lane, mainLane } from './lane.js';
import type { Pools } from './pools.js';
import type { Batch, SlabPool } from './slab.js';
import { StageRun } from './stage-run.js';
import type { MainStep, Step } from './step.js';
import type { StageReport } from './tally.js';

export interface Run {
  readonly verb: string;
  readonly slabs: SlabPool;
  /** Where the stages' threads come from; they stay when the run ends. */
  readonly pools: Pools;
  /** Yields leased, begun batches in image order; `skip` hears of image bytes that need none. */
  source(skip: (bytes: number) => void): AsyncIterable<Batch>;
  readonly steps: readonly Step[];
  /** Called in image order with each batch that came through; when it is done, the slab goes back. */
  sink(batch: Batch): void | Promise<void>;
  /** Image bytes in all, for progress. */
  readonly totalBytes: number;
  /** Image bytes that no batch will stand for (holes), already dealt with. */
  readonly skippedBytes?: number;
  readonly events?: RunEmitter | undefined;
  readonly signal?: AbortSignal | undefined;
}

const isMain = (step: Step): step is MainStep => 'main' in step;

/** The reason in an aborted signal, as a fault. */
export const abortFault = (signal: AbortSignal): Fault =>
  signal.reason instanceof Fault ? signal.reason : fault('cancelled', { by: 'the caller' });

/** Starts the threads that are sure to be needed when the first batch shows that there is work. */
async function* starting(
  source: AsyncIterable<Batch>,
  stages: readonly StageRun[],
): AsyncGenerator<Batch> {
  let started = false;
  for await (const batch of source) {
    if (!started) for (const stage of stages) if (stage.use.early) stage.prepare();
    started = true;
    yield batch;
  }
}

/** The end of the line: hands each batch to the sink, then gives its slab back. */
const sinkStream = (line: Run, ended: (batch: Batch) => void): Writable =>
  new Writable({
    objectMode: true,
    highWaterMark: 1,
    write(batch: Batch, _encoding, done) {
      const finish = (): void => {
        ended(batch);
        line.slabs.release(batch);
        done();
      };
      try {
        const waiting = line.sink(batch);
        if (waiting instanceof Promise) waiting.then(finish, done);
        else finish();
      } catch (error) {
        done(error as Error);
      }
    },
  });

/** All has come through: each stage comes to its end, whichever fails at it. Rejects with the first failure. */
const allEnded = async (stages: readonly StageRun[]): Promise<void> => {
  const ends = await Promise.allSettled(stages.map((stage) => stage.end(true)));
  const failed = ends.find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
};

/** Tells runs apart. */
let runs = 0;

/** Runs the line to its end; resolves to each stage's report. Rejects with the first fault. */
export const run = async (line: Run): Promise<readonly StageReport[]> => {
  const control = new SharedArrayBuffer(4);
  const { slabs } = line;
  runs += 1;
  const setup = { run: runs, layout: slabs.layout, memory: slabs.memory, control };
  const stages: StageRun[] = [];
  const reports = (elapsedMs: number): StageReport[] =>
    stages.map((stage) => stage.report(elapsedMs));
  const meter = new ProgressMeter(line.events, line.verb, line.totalBytes, reports);
  meter.advance(line.skippedBytes ?? 0);
  const toDo = meter.leftBytes;
  /** What is left in multiples of what is done: by the whole run, or by a stage that is further. */
  const left = (stageBytes: number): number => {
    const done = Math.max(toDo - meter.leftBytes, stageBytes);
    return done > 0 ? Math.max(0, toDo - done) / done : Number.POSITIVE_INFINITY;
  };
  const ended = (batch: Batch): void => meter.advance(batch.bytes);
  let before: Lane | undefined;
  const lanes = line.steps.map((step) => {
    if (isMain(step)) return mainLane(step);
    const stage = new StageRun(step, { ...setup, left }, line.pools, line.events);
    stages.push(stage);
    before = new Lane(stage, slabs, ended, before);
    return before;
  });
  const sink = sinkStream(line, ended);
  const stop = (): void => {
    Atomics.store(new Int32Array(control), 0, 1);
    slabs.close(fault('cancelled', { by: 'the caller' }));
  };
  line.signal?.addEventListener('abort', stop, { once: true });
  let sound = false;
  /** True once the stages have been told that all is through. */
  let ending = false;
  try {
    const batches = line.source((bytes) => meter.advance(bytes));
    const source = Readable.from(starting(batches, stages), {
      objectMode: true,
      highWaterMark: 1,
    });
    const options = line.signal ? { signal: line.signal } : {};
    await pipeline([source, ...lanes, sink], options);
    for (const stage of stages) stage.check();
    sound = slabs.idle === slabs.memory.length;
    ending = true;
    await allEnded(stages);
    meter.end();
    return reports(meter.elapsedMs);
  } catch (error) {
    sound = false;
    stop();
    await Promise.all(lanes.map((lane) => (lane instanceof Lane ? lane.settled() : undefined)));
    // Of a run that has failed, this is not what went wrong first.
    if (!ending) await Promise.allSettled(stages.map((stage) => stage.end(false)));
    if (line.signal?.aborted) throw abortFault(line.signal);
    throw error;
  } finally {
    line.signal?.removeEventListener('abort', stop);
    line.pools.stock.give(slabs.memory, sound);
  }
};
