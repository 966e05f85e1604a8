// What goes on in the threads of a stage under examination, as seen from outside.

/** The calls of a stage's threads. */
export type Call = 'open' | 'batch' | 'encode' | 'decode' | 'flush' | 'close';

/** Where each thing is counted. */
export const Count = {
  open: 0,
  batch: 1,
  encode: 2,
  decode: 3,
  flush: 4,
  close: 5,
  /** Calls while another one of the same thread was under way. */
  overlaps: 6,
  /** Calls after flush or close. */
  late: 7,
  /** Bytes lent and kept: how many pieces of them. */
  kept: 8,
} as const;
const COUNTERS = 9;

/** After so many calls a thread's memory is measured again. */
export const CALLS_PER_SAMPLE = 40;
/** How often it is measured. */
export const SAMPLES = 8;

/** What a watched stage is opened with; it can be sent to a thread. */
export interface WatchOptions {
  /** URL of the stage's own module, and what that is to be opened with. */
  readonly module: string;
  readonly options: unknown;
  /** Int32, see `Count`. */
  readonly counts: SharedArrayBuffer;
  /** The call that throws, counted over all threads from 1. */
  readonly throwsAt: { readonly call: Call; readonly number: number } | undefined;
  /** True to lend memory of its own with each call, and to look who still has it in the end. */
  readonly lends: boolean;
  /** Float64, bytes of the heap and of the process by turns, where they are to be measured. */
  readonly samples: SharedArrayBuffer | undefined;
}

/** What is wanted of a watch. */
export type WatchWishes = Partial<Pick<WatchOptions, 'throwsAt' | 'lends'>> & {
  readonly measures?: boolean;
};

/** What the watched stage's error says. */
export const THROWN = 'thrown by the examiner';

/** URL of the module that watches. */
export const WATCHED = new URL('./watched.js', import.meta.url).href;

/** A module, and what a stage of it is opened with. */
export interface Opening {
  readonly module: string;
  readonly options: unknown;
}

/** Watches a stage during one run. */
export class Watch {
  readonly #counts = new SharedArrayBuffer(COUNTERS * 4);
  readonly #wishes: WatchWishes;
  readonly #samples: SharedArrayBuffer[] = [];

  constructor(wishes: WatchWishes = {}) {
    this.#wishes = wishes;
  }

  /** The same stage, watched. */
  wrap({ module, options }: Opening): { readonly module: string; readonly options: WatchOptions } {
    const { throwsAt, lends = false, measures = false } = this.#wishes;
    const samples = measures ? new SharedArrayBuffer(SAMPLES * 2 * 8) : undefined;
    if (samples) this.#samples.push(samples);
    const counts = this.#counts;
    return { module: WATCHED, options: { module, options, counts, throwsAt, lends, samples } };
  }

  count(name: keyof typeof Count): number {
    return Atomics.load(new Int32Array(this.#counts), Count[name]);
  }

  /** What was measured in each place where the stage was opened: bytes of its heap, and of the process. */
  get measured(): { readonly heap: number[]; readonly process: number[] }[] {
    return this.#samples.map((samples) => {
      const all = [...new Float64Array(samples)];
      return {
        heap: all.filter((_, k) => k % 2 === 0),
        process: all.filter((_, k) => k % 2 === 1),
      };
    });
  }
}
