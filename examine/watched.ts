// watched: stands between the engine and a stage under examination, in the threads of the stage. It counts the calls,
// throws in the stage's place, lends memory that nobody else has, and measures.

import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { allocatePages } from '../disk/index.js';
import { Batch, type Desk, type Stage, type StageThread, stage } from '../pipeline/index.js';
import { CALLS_PER_SAMPLE, type Call, Count, SAMPLES, THROWN, type WatchOptions } from './watch.js';

/** What collects garbage. */
const collector = (): (() => void) => {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
};

/** The memory of all that was lent, held so that it can go. */
class Loans {
  readonly #lent: WeakRef<ArrayBufferLike>[] = [];

  #note(memory: ArrayBufferLike): void {
    this.#lent.push(new WeakRef(memory));
  }

  /** A copy of a batch in memory of its own. */
  batch({ slab, layout, whole }: Batch): Batch {
    const pages = allocatePages(whole.length);
    const own = new Batch(slab, layout, pages);
    whole.copy(own.whole);
    this.#note(pages.memory);
    return own;
  }

  bytes(from: Buffer): Buffer {
    const memory = new ArrayBuffer(from.length);
    const own = Buffer.from(memory);
    from.copy(own);
    this.#note(memory);
    return own;
  }

  /** How many are still held; the last call's may be. */
  get kept(): number {
    return this.#lent.slice(0, -2).filter((lent) => lent.deref() !== undefined).length;
  }
}

const open = async (options: WatchOptions, desk: Desk): Promise<StageThread> => {
  const { module, throwsAt, lends } = options;
  const counts = new Int32Array(options.counts);
  const samples = options.samples && new Float64Array(options.samples);
  const collect = lends || samples ? collector() : undefined;
  const loans = lends ? new Loans() : undefined;
  let busy = false;
  let over = false;
  let calls = 0;

  /** Counts a call, and throws if this is the one. */
  const count = (call: Call): void => {
    const number = Atomics.add(counts, Count[call], 1) + 1;
    if (throwsAt?.call === call && throwsAt.number === number)
      throw new Error(`${THROWN}: ${call}`);
  };

  const measure = (): void => {
    calls += 1;
    const k = calls / CALLS_PER_SAMPLE - 1;
    if (!samples || !Number.isInteger(k) || k >= SAMPLES) return;
    collect?.();
    const { heapUsed, external, rss } = process.memoryUsage();
    samples.set([heapUsed + external, rss], 2 * k);
  };

  const begin = (call: Call): void => {
    if (busy) Atomics.add(counts, Count.overlaps, 1);
    if (over) Atomics.add(counts, Count.late, 1);
    count(call);
  };

  const enter = async <T>(call: Call, work: () => T | Promise<T>): Promise<T> => {
    begin(call);
    busy = true;
    try {
      return await work();
    } finally {
      busy = false;
    }
  };

  count('open');
  const { default: definition } = (await import(module)) as { default: Stage };
  const thread = await definition.open(options.options, desk);

  const batch = async (given: Batch): Promise<void> => {
    if (loans) {
      const lent = loans.batch(given);
      await thread.batch?.(lent);
      lent.whole.copy(given.whole);
    } else await thread.batch?.(given);
    measure();
  };

  const code =
    (call: 'encode' | 'decode') =>
    (bytes: Buffer, into: Buffer): number => {
      const run = thread[call]?.bind(thread);
      if (!run) throw new Error(`it has no ${call}`);
      begin(call);
      if (!loans) {
        const made = run(bytes, into);
        measure();
        return made;
      }
      const target = loans.bytes(into);
      const made = run(loans.bytes(bytes), target);
      target.copy(into);
      return made;
    };

  return {
    ...(thread.batch ? { batch: (given) => enter('batch', () => batch(given)) } : {}),
    ...(thread.encode ? { encode: code('encode') } : {}),
    ...(thread.decode ? { decode: code('decode') } : {}),
    flush: () =>
      enter('flush', async () => {
        over = true;
        const part = await thread.flush?.();
        // What was lent to the last call may be on its way out still.
        await setImmediate();
        collect?.();
        if (loans) Atomics.add(counts, Count.kept, loans.kept);
        return part;
      }),
    close: async () => {
      over = true;
      await thread.close?.();
      count('close');
    },
  };
};

export default stage<WatchOptions>({ name: 'watched', open });
