// watched: stands between the engine and a stage under examination, in the threads of the stage. It counts the calls,
// throws in the stage's place, lends memory that nobody else has, and measures.

import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { allocatePages } from '../disk/index.js';
import { Batch, type Desk, type Stage, type StageThread, stage } from '../pipeline/index.js';
import { CALLS_PER_SAMPLE, type Call, Count, SAMPLES, THROWN, type WatchOptions } from './watch.js';

/** Collects garbage; what was lent to the call before may be on its way out still. */
const collector = (): (() => Promise<void>) => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  return async () => {
    for (let turn = 0; turn < 3; turn += 1) {
      await setImmediate();
      gc();
    }
  };
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

  const measure = async (): Promise<void> => {
    calls += 1;
    const k = calls / CALLS_PER_SAMPLE - 1;
    if (!samples || !Number.isInteger(k) || k >= SAMPLES) return;
    await collect?.();
    const { heapUsed, external, rss } = process.memoryUsage();
    samples.set([heapUsed + external, rss], 2 * k);
  };

  const enter = <T>(call: Call, work: () => T | Promise<T>): Promise<T> => {
    if (busy) Atomics.add(counts, Count.overlaps, 1);
    if (over) Atomics.add(counts, Count.late, 1);
    busy = true;
    const run = async (): Promise<T> => {
      try {
        count(call);
        return await work();
      } finally {
        busy = false;
      }
    };
    return run();
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
    await measure();
  };

  const code =
    (call: 'encode' | 'decode') =>
    async (bytes: Buffer, into: Buffer): Promise<number> => {
      const run = thread[call]?.bind(thread);
      if (!run) throw new Error(`it has no ${call}`);
      if (!loans) {
        const made = await run(bytes, into);
        await measure();
        return made;
      }
      const target = loans.bytes(into);
      const made = await run(loans.bytes(bytes), target);
      target.copy(into);
      return made;
    };

  return {
    ...(thread.batch ? { batch: (given) => enter('batch', () => batch(given)) } : {}),
    ...(thread.encode
      ? { encode: (bytes, into) => enter('encode', () => code('encode')(bytes, into)) }
      : {}),
    ...(thread.decode
      ? { decode: (bytes, into) => enter('decode', () => code('decode')(bytes, into)) }
      : {}),
    flush: () =>
      enter('flush', async () => {
        over = true;
        const part = await thread.flush?.();
        await collect?.();
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
