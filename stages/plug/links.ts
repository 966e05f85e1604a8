// The reversible stages of a store in one thread: each cluster to be stored goes through one after another, and through
// them backwards when it is read. What comes out is put in a frame, since qcow2 knows a payload's length to the sector only:
//
//     0-3  length of what follows the frame's 8 bytes, little endian
//     4-7  what was done: bit 0 the codec's work, bit k+1 that of link k; little endian

import { type Fault, fault, reasonOf } from '../../disk/index.js';
import type { Desk, Stage, StageThread } from '../../pipeline/index.js';
import { importModule } from './import.js';
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

class Link {
  readonly use: LinkUse;
  readonly #thread: StageThread;
  readonly #loans:
    | { readonly from: Loan; readonly into: Loan; readonly target: Buffer }
    | undefined;
  readonly #done = { encode: newTotals(), decode: newTotals() };

  /** `most`: the most bytes that it is given or makes. */
  constructor(use: LinkUse, thread: StageThread, most: number, strict: boolean) {
    this.use = use;
    this.#thread = thread;
    if (!strict) return;
    const target = Buffer.alloc(most);
    this.#loans = { from: new Loan(Buffer.alloc(most)), into: new Loan(target), target };
  }

  #checkLoans(): void {
    if (this.#loans && !(this.#loans.from.untouched && this.#loans.into.untouched)) {
      throw new Error('it wrote to bytes that it had given back');
    }
  }

  /** Calls the stage; the bytes it made are in `into`, or 0 of them. */
  async call(name: Call, bytes: Buffer, into: Buffer): Promise<number> {
    const call = this.#thread[name];
    if (!call) throw new Error(`it has no ${name}`);
    this.#checkLoans();
    const began = performance.now();
    const loans = this.#loans;
    const target = loans ? loans.target.subarray(0, into.length) : into;
    const answer = call.call(this.#thread, loans ? loans.from.lend(bytes) : bytes, target);
    const made = typeof answer === 'number' ? answer : await answer;
    if (!Number.isInteger(made) || made < 0 || made > into.length) {
      throw new Error(`its ${name} returned ${made}, of at most ${into.length} bytes`);
    }
    if (loans) {
      target.copy(into, 0, 0, made);
      loans.from.giveBack();
      loans.into.giveBack();
    }
    const done = this.#done[name];
    done.micros += (performance.now() - began) * 1000;
    done.bytesIn += bytes.length;
    done.bytesOut += made;
    return made;
  }

  async flush(): Promise<LinkPart> {
    this.#checkLoans();
    return {
      name: this.use.name,
      ...this.#done,
      part: await this.#thread.flush?.(),
    };
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
    const opened = await Promise.all(
      links.map(async (use) => {
        const module = (await importModule(use.module)) as { default: Stage };
        return new Link(use, await module.default.open(use.options, desk), most, strict);
      }),
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
    let at: Buffer = bytes;
    let done = packed ? CODEC : 0;
    for (const [k, link] of this.#links.entries()) {
      if (done === 0 ? !link.use.takesPlain : !link.use.takesPacked) continue;
      const [first, second] = this.#places;
      const place =
        at.buffer === first.buffer && at.byteOffset === first.byteOffset ? second : first;
      const room = place.subarray(0, at.length + link.use.growth);
      const made = await guard(link, offset, () => link.call('encode', at, room));
      if (made === 0) continue;
      at = room.subarray(0, made);
      done |= 2 << k;
    }
    if (done === 0) return 0;
    into.writeUInt32LE(at.length, 0);
    into.writeUInt32LE(done, 4);
    at.copy(into, FRAME_BYTES);
    const frame = into.subarray(0, FRAME_BYTES + at.length);
    if (this.#proves || this.#strict) await this.#prove(frame, bytes, offset);
    return frame.length;
  }

  /** What cannot be decoded now could never be restored. */
  async #prove(frame: Buffer, bytes: Buffer, offset: number): Promise<void> {
    this.#proves = false;
    // The bytes may lie in one of the places that decoding uses.
    const kept = this.#proof.subarray(0, bytes.copy(this.#proof));
    const { bytes: again } = await this.decode(frame, offset);
    if (again.equals(kept)) return;
    const names = this.#links.map(({ use }) => use.name).join(', ');
    const what = 'could not decode what it had encoded';
    throw fault('stage-broke', { stage: names, offset, what });
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
        at = place.subarray(0, await link.call('decode', at, place));
      } catch (error) {
        throw damaged(link.use.name, offset, reasonOf(error));
      }
    }
    return { bytes: at, packed: (done & CODEC) !== 0 };
  }

  /** What each link did. */
  async flush(): Promise<LinkPart[]> {
    const parts: LinkPart[] = [];
    for (const link of this.#links) parts.push(await guard(link, 0, () => link.flush()));
    return parts;
  }

  async close(): Promise<void> {
    for (const link of this.#links) await guard(link, 0, () => link.close());
  }
}

const damaged = (codec: string, offset: number, reason: string): Fault =>
  fault('payload-damaged', { offset, codec, reason });

/** Says whose fault it is. */
const guard = async <T>({ use }: Link, offset: number, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw fault('stage-failed', { stage: use.name, offset, reason: reasonOf(error) }, error);
  }
};
