// One reversible stage in one thread: what it is called with, and what is made of its answers.

import { Fault, fault, reasonOf } from '../../disk/index.js';
import type { StageThread } from '../../pipeline/index.js';
import { Loan } from './lent.js';

/** One reversible stage of a store; plain data. */
export interface LinkUse {
  readonly name: string;
  /** URL of its module. */
  readonly module: string;
  /** What its `parse` made. */
  readonly options: unknown;
  readonly growth: number;
  readonly takesPlain: boolean;
  readonly takesPacked: boolean;
}

/** So many bytes behind what a stage may write to are watched in strict mode. */
const FENCE_BYTES = 64;

/** All calls of one kind. */
interface Totals {
  micros: number;
  /** Bytes that were given, and that were made of them. */
  bytesIn: number;
  bytesOut: number;
}

const newTotals = (): Totals => ({ micros: 0, bytesIn: 0, bytesOut: 0 });

/** What a link did in one thread. */
export interface LinkPart {
  readonly name: string;
  readonly encode: Totals;
  readonly decode: Totals;
  /** What its flush gave. */
  readonly part: unknown;
}

type Call = 'encode' | 'decode';

/** What a link is lent in strict mode. */
interface Loans {
  readonly from: Loan;
  readonly into: Loan;
  /** The bytes of `into`. */
  readonly target: Buffer;
}

export class Link {
  readonly use: LinkUse;
  readonly #thread: StageThread;
  readonly #loans: Loans | undefined;
  readonly #done = { encode: newTotals(), decode: newTotals() };

  /** `most`: the most bytes that it is given or makes. */
  constructor(use: LinkUse, thread: StageThread, most: number, strict: boolean) {
    this.use = use;
    this.#thread = thread;
    if (!strict) return;
    const target = Buffer.alloc(most + FENCE_BYTES);
    this.#loans = { from: new Loan(Buffer.alloc(most)), into: new Loan(target), target };
  }

  #broke(offset: number, what: string): Fault {
    return fault('stage-broke', { stage: this.use.name, offset, what });
  }

  #checkLoans(offset: number): void {
    if (this.#loans && !(this.#loans.from.untouched && this.#loans.into.untouched)) {
      throw this.#broke(offset, 'wrote to bytes that it had given back');
    }
  }

  #run(name: Call, bytes: Buffer, into: Buffer): number {
    const call = this.#thread[name];
    if (!call) throw new Error(`it has no ${name}`);
    const made: unknown = call.call(this.#thread, bytes, into);
    if (Number.isInteger(made) && (made as number) >= 0 && (made as number) <= into.length) {
      return made as number;
    }
    const what = made instanceof Promise ? 'a promise' : String(made);
    throw new Error(`its ${name} returned ${what}, of at most ${into.length} bytes`);
  }

  /** The same with copies, for as long as the call takes. */
  #runStrictly(
    { from, into: lent, target }: Loans,
    [name, bytes, into, offset]: readonly [Call, Buffer, Buffer, number],
  ): number {
    this.#checkLoans(offset);
    try {
      const copy = from.lend(bytes);
      const made = this.#run(name, copy, target.subarray(0, into.length));
      if (!copy.equals(bytes))
        throw this.#broke(offset, `changed bytes that its ${name} was given`);
      if (!lent.untouchedFrom(into.length)) {
        throw this.#broke(offset, `wrote behind the bytes that its ${name} may write to`);
      }
      target.copy(into, 0, 0, made);
      return made;
    } finally {
      from.giveBack();
      lent.giveBack();
    }
  }

  /** Calls the stage; the bytes it made are in `into`, or 0 of them. `offset` in the image is for faults. */
  call(name: Call, bytes: Buffer, into: Buffer, offset: number): number {
    const began = performance.now();
    const made = this.#loans
      ? this.#runStrictly(this.#loans, [name, bytes, into, offset])
      : this.#run(name, bytes, into);
    const done = this.#done[name];
    done.micros += (performance.now() - began) * 1000;
    done.bytesIn += bytes.length;
    done.bytesOut += made;
    return made;
  }

  async flush(): Promise<LinkPart> {
    this.#checkLoans(0);
    const part = await this.#thread.flush?.();
    this.#checkLoans(0);
    return { name: this.use.name, ...this.#done, part };
  }

  async close(): Promise<void> {
    await this.#thread.close?.();
  }
}

export const damaged = (codec: string, offset: number, reason: string): Fault =>
  fault('payload-damaged', { offset, codec, reason });

/** True for what a stage has done against the contract: no damage of a store. */
export const isBreach = (error: unknown): boolean =>
  error instanceof Fault && error.code === 'stage-broke';

/** What a stage has thrown, as a fault that names it. */
export const failed = ({ name }: LinkUse, offset: number, error: unknown): unknown =>
  isBreach(error)
    ? error
    : fault('stage-failed', { stage: name, offset, reason: reasonOf(error) }, error);
