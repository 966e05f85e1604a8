// One reversible stage in one thread, called for cluster after cluster. In strict mode it gets copies, and what it does to
// them is looked at.

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

/** At once where a stage answers at once: a promise for every cluster would cost what a tenth of it does. */
export type Soon<T> = T | Promise<T>;

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

  /** What it has done against the contract. */
  #broke(offset: number, what: string): Fault {
    return fault('stage-broke', { stage: this.use.name, offset, what });
  }

  #checkLoans(offset: number): void {
    if (this.#loans && !(this.#loans.from.untouched && this.#loans.into.untouched)) {
      throw this.#broke(offset, 'wrote to bytes that it had given back');
    }
  }

  #run(name: Call, bytes: Buffer, into: Buffer): Soon<number> {
    const call = this.#thread[name];
    if (!call) throw new Error(`it has no ${name}`);
    const check = (made: number): number => {
      if (Number.isInteger(made) && made >= 0 && made <= into.length) return made;
      throw new Error(`its ${name} returned ${made}, of at most ${into.length} bytes`);
    };
    const answer = call.call(this.#thread, bytes, into);
    return typeof answer === 'number' ? check(answer) : Promise.resolve(answer).then(check);
  }

  /** The same with copies, for as long as the call takes. */
  async #runStrictly(
    { from, into: lent, target }: Loans,
    [name, bytes, into, offset]: readonly [Call, Buffer, Buffer, number],
  ): Promise<number> {
    this.#checkLoans(offset);
    try {
      const copy = from.lend(bytes);
      const made = await this.#run(name, copy, target.subarray(0, into.length));
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
  call(name: Call, bytes: Buffer, into: Buffer, offset: number): Soon<number> {
    const began = performance.now();
    const count = (made: number): number => {
      const done = this.#done[name];
      done.micros += (performance.now() - began) * 1000;
      done.bytesIn += bytes.length;
      done.bytesOut += made;
      return made;
    };
    const refuse = (error: unknown): never => {
      throw blame(name, this, offset, error);
    };
    try {
      const made = this.#loans
        ? this.#runStrictly(this.#loans, [name, bytes, into, offset])
        : this.#run(name, bytes, into);
      return typeof made === 'number' ? count(made) : made.then(count).catch(refuse);
    } catch (error) {
      return refuse(error);
    }
  }

  async flush(): Promise<LinkPart> {
    this.#checkLoans(0);
    try {
      return { name: this.use.name, ...this.#done, part: await this.#thread.flush?.() };
    } catch (error) {
      throw failed(this, 0, error);
    }
  }

  async close(): Promise<void> {
    try {
      await this.#thread.close?.();
    } catch (error) {
      throw failed(this, 0, error);
    }
  }
}

export const damaged = (codec: string, offset: number, reason: string): Fault =>
  fault('payload-damaged', { offset, codec, reason });

const failed = ({ use }: Link, offset: number, error: unknown): Fault =>
  fault('stage-failed', { stage: use.name, offset, reason: reasonOf(error) }, error);

/** True for what a stage has done against the contract: no damage of a store. */
export const isBreach = (error: unknown): boolean =>
  error instanceof Fault && error.code === 'stage-broke';

/** Says whose fault it is. */
const blame = (name: Call, link: Link, offset: number, error: unknown): unknown => {
  if (isBreach(error)) return error;
  if (name === 'encode') return failed(link, offset, error);
  return damaged(link.use.name, offset, reasonOf(error));
};
