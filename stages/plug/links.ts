// The reversible stages of a store in one thread: each cluster to be stored goes through one after another, and through
// them backwards when it is read. What comes out is put in a frame, since qcow2 knows a payload's length to the sector only:
//
//     0-3  length of what follows the frame's 8 bytes, little endian
//     4-7  what was done: bit 0 the codec's work, bit k+1 that of link k; little endian

import { Fault, fault, reasonOf } from '../../disk/index.js';
import type { Desk, StageThread } from '../../pipeline/index.js';
import { Loan } from './lent.js';
import { closeAll, openAll, openModule } from './open.js';

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

export interface LinksOptions {
  /** In the order in which they encode. */
  readonly links: readonly LinkUse[];
  /** True to lend copies only, and to decode everything that was encoded. */
  readonly strict: boolean;
}

const FRAME_BYTES = 8;
const CODEC = 1;
/** As many as a frame has bits for, and nobody needs. */
export const MOST_LINKS = 8;

/** Bytes that the frame of a cluster of these links may have more than the cluster. */
export const growthOf = (links: readonly Pick<LinkUse, 'growth'>[]): number =>
  FRAME_BYTES + links.reduce((sum, { growth }) => sum + growth, 0);

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

class Link {
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

  async #run(name: Call, bytes: Buffer, into: Buffer): Promise<number> {
    const call = this.#thread[name];
    if (!call) throw new Error(`it has no ${name}`);
    const answer = call.call(this.#thread, bytes, into);
    const made = typeof answer === 'number' ? answer : await answer;
    if (Number.isInteger(made) && made >= 0 && made <= into.length) return made;
    throw new Error(`its ${name} returned ${made}, of at most ${into.length} bytes`);
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
  async call(name: Call, bytes: Buffer, into: Buffer, offset: number): Promise<number> {
    const began = performance.now();
    const made = await (this.#loans
      ? this.#runStrictly(this.#loans, [name, bytes, into, offset])
      : this.#run(name, bytes, into));
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

/** What comes out of a frame. */
export interface Unframed {
  readonly bytes: Buffer;
  /** True when the codec has made them. */
  readonly packed: boolean;
}

export class Links {
  readonly #links: readonly Link[];
  readonly #strict: boolean;
  /** What one link makes is the next one's input, so there are two places, and one to look at what was made. */
  readonly #places: readonly [Buffer, Buffer];
  readonly #proof: Buffer;
  /** True when the next cluster is decoded again at once. */
  #proves = true;

  private constructor(links: readonly Link[], most: number, strict: boolean) {
    this.#links = links;
    this.#strict = strict;
    this.#places = [Buffer.alloc(most), Buffer.alloc(most)];
    this.#proof = Buffer.alloc(most);
  }

  static async open({ links, strict }: LinksOptions, desk: Desk): Promise<Links> {
    const most = desk.clusterSize + growthOf(links);
    const opened = await openAll(
      links,
      async (use) => {
        const thread = await guard(use, 0, () => openModule(use.module, use.options, desk));
        return new Link(use, thread, most, strict);
      },
      closeLink,
    );
    return new Links(opened, most, strict);
  }

  /** Begins a batch: one of its clusters at least is decoded again at once. */
  begin(): void {
    this.#proves = true;
  }

  /**
   * Frames `bytes`, a cluster's or, if `packed`, what the codec made of one, into `into`. Returns the frame's length; 0
   * when no link did anything to a cluster that is not packed. `offset` in the image is for faults.
   */
  async encode(bytes: Buffer, packed: boolean, into: Buffer, offset: number): Promise<number> {
    // As it is before anybody has it: a stage may write where it must not.
    const kept =
      this.#proves || this.#strict ? this.#proof.subarray(0, bytes.copy(this.#proof)) : undefined;
    let at: Buffer = bytes;
    let done = packed ? CODEC : 0;
    for (const [k, link] of this.#links.entries()) {
      if (done === 0 ? !link.use.takesPlain : !link.use.takesPacked) continue;
      const [first, second] = this.#places;
      const place =
        at.buffer === first.buffer && at.byteOffset === first.byteOffset ? second : first;
      const room = place.subarray(0, at.length + link.use.growth);
      const made = await guard(link.use, offset, () => link.call('encode', at, room, offset));
      if (made === 0) continue;
      at = room.subarray(0, made);
      done |= 2 << k;
    }
    if (done === 0) {
      if (kept && !kept.equals(bytes))
        throw this.#broke(offset, 'changed bytes that it did not encode');
      return 0;
    }
    into.writeUInt32LE(at.length, 0);
    into.writeUInt32LE(done, 4);
    at.copy(into, FRAME_BYTES);
    const frame = into.subarray(0, FRAME_BYTES + at.length);
    if (kept) await this.#prove(frame, kept, offset);
    return frame.length;
  }

  /** What some link has done against the contract. */
  #broke(offset: number, what: string): Fault {
    const names = this.#links.map(({ use }) => use.name).join(', ');
    return fault('stage-broke', { stage: names, offset, what });
  }

  /** What cannot be decoded now could never be restored. */
  async #prove(frame: Buffer, kept: Buffer, offset: number): Promise<void> {
    this.#proves = false;
    let again: Buffer;
    try {
      again = (await this.decode(frame, offset)).bytes;
    } catch (error) {
      if (isBreach(error)) throw error;
      // No store is damaged here.
      const reason = error instanceof Fault ? error.details.reason : reasonOf(error);
      throw this.#broke(offset, `could not decode what it had encoded (${reason})`);
    }
    if (!again.equals(kept)) throw this.#broke(offset, 'could not decode what it had encoded');
  }

  /** Takes a frame apart, behind which there may be other bytes. Throws a Fault when it cannot. */
  async decode(frame: Buffer, offset: number): Promise<Unframed> {
    const length = frame.length < FRAME_BYTES ? 0 : frame.readUInt32LE(0);
    const done = length === 0 ? 0 : frame.readUInt32LE(4);
    if (length > frame.length - FRAME_BYTES || done === 0 || done >= 2 << this.#links.length) {
      throw damaged('frame', offset, 'its head is not one that nvsnap writes');
    }
    let at = frame.subarray(FRAME_BYTES, FRAME_BYTES + length);
    for (const [k, link] of [...this.#links.entries()].reverse()) {
      if ((done & (2 << k)) === 0) continue;
      const [first, second] = this.#places;
      const place =
        at.buffer === first.buffer && at.byteOffset === first.byteOffset ? second : first;
      try {
        at = place.subarray(0, await link.call('decode', at, place, offset));
      } catch (error) {
        if (isBreach(error)) throw error;
        throw damaged(link.use.name, offset, reasonOf(error));
      }
    }
    return { bytes: at, packed: (done & CODEC) !== 0 };
  }

  /** What each link did. */
  async flush(): Promise<LinkPart[]> {
    const parts: LinkPart[] = [];
    for (const link of this.#links) parts.push(await guard(link.use, 0, () => link.flush()));
    return parts;
  }

  close(): Promise<void> {
    return closeAll(this.#links, closeLink);
  }
}

const closeLink = (link: Link): Promise<void> => guard(link.use, 0, () => link.close());

const damaged = (codec: string, offset: number, reason: string): Fault =>
  fault('payload-damaged', { offset, codec, reason });

/** True for what a stage has done against the contract: no damage of a store. */
export const isBreach = (error: unknown): boolean =>
  error instanceof Fault && error.code === 'stage-broke';

/** Says whose fault it is. */
const guard = async <T>(use: LinkUse, offset: number, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (isBreach(error)) throw error;
    throw fault('stage-failed', { stage: use.name, offset, reason: reasonOf(error) }, error);
  }
};
