// The reversible stages of a store in one thread: each cluster to be stored goes through one after another, and through
// them backwards when it is read. What comes out is put in a frame, since qcow2 knows a payload's length to the sector only:
//
//     0-3  length of what follows the frame's 8 bytes, little endian
//     4-7  what was done: bit 0 the codec's work, bit k+1 that of link k; little endian

import { type Fault, fault, reasonOf } from '../../disk/index.js';
import type { Desk, Stage, StageThread } from '../../pipeline/index.js';
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

/** At once where a stage answers at once: a promise for every cluster would cost what a tenth of it does. */
type Soon<T> = T | Promise<T>;

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

  /** Looks at what the stage has answered, and counts it. */
  #settle(name: Call, bytes: Buffer, into: Buffer, made: number, began: number): number {
    if (!Number.isInteger(made) || made < 0 || made > into.length) {
      throw new Error(`its ${name} returned ${made}, of at most ${into.length} bytes`);
    }
    const loans = this.#loans;
    if (loans) {
      loans.target.copy(into, 0, 0, made);
      loans.from.giveBack();
      loans.into.giveBack();
    }
    const done = this.#done[name];
    done.micros += (performance.now() - began) * 1000;
    done.bytesIn += bytes.length;
    done.bytesOut += made;
    return made;
  }

  #start(name: Call, bytes: Buffer, into: Buffer): Soon<number> {
    const call = this.#thread[name];
    if (!call) throw new Error(`it has no ${name}`);
    this.#checkLoans();
    const began = performance.now();
    const loans = this.#loans;
    const answer = loans
      ? call.call(this.#thread, loans.from.lend(bytes), loans.target.subarray(0, into.length))
      : call.call(this.#thread, bytes, into);
    if (typeof answer === 'number') return this.#settle(name, bytes, into, answer, began);
    return Promise.resolve(answer).then((made) => this.#settle(name, bytes, into, made, began));
  }

  /** Calls the stage; the bytes it made are in `into`, or 0 of them. `blame` makes a fault of what goes wrong. */
  call(name: Call, bytes: Buffer, into: Buffer, blame: (error: unknown) => Fault): Soon<number> {
    const refuse = (error: unknown): never => {
      throw blame(error);
    };
    try {
      const made = this.#start(name, bytes, into);
      return typeof made === 'number' ? made : made.catch(refuse);
    } catch (error) {
      return refuse(error);
    }
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

/** True when `bytes` begin where `place` does. */
const liesIn = (bytes: Buffer, place: Buffer): boolean =>
  bytes.byteOffset === place.byteOffset && bytes.buffer === place.buffer;

export class Links {
  readonly #links: readonly Link[];
  readonly #strict: boolean;
  /** What one link makes is the next one's input, so there are two places. */
  readonly #places: readonly [Buffer, Buffer];
  /** A cluster as it was, and as it came back. */
  readonly #proof: { readonly was: Buffer; readonly again: Buffer };
  /** True when the next cluster is decoded again at once. */
  #proves = true;

  private constructor(links: readonly Link[], clusterSize: number, most: number, strict: boolean) {
    this.#links = links;
    this.#strict = strict;
    this.#places = [Buffer.alloc(most), Buffer.alloc(most)];
    this.#proof = { was: Buffer.alloc(clusterSize), again: Buffer.alloc(clusterSize) };
  }

  static async open({ links, strict }: LinksOptions, desk: Desk): Promise<Links> {
    const { clusterSize } = desk;
    const most = clusterSize + growthOf(links);
    const opened = await Promise.all(
      links.map(async (use) => {
        const module = (await import(use.module)) as { default: Stage };
        return new Link(use, await module.default.open(use.options, desk), most, strict);
      }),
    );
    return new Links(opened, clusterSize, most, strict);
  }

  /** Begins a batch: one of its clusters at least is decoded again at once. */
  begin(): void {
    this.#proves = true;
  }

  /**
   * Frames `bytes`, a cluster's or, if `packed`, what the codec made of one, into `into`, which has room for a cluster and
   * all growth. Returns the frame's length; 0 when no link did anything to a cluster that is not packed. `offset` in the
   * image is for faults.
   */
  encode(bytes: Buffer, packed: boolean, into: Buffer, offset: number): Soon<number> {
    const proves = this.#proves || this.#strict;
    const was = this.#proof.was.subarray(0, bytes.length);
    if (proves) bytes.copy(was);
    const made = this.#encodeFrom(0, bytes, packed ? CODEC : 0, into, offset);
    if (!proves) return made;
    const prove = (length: number): Soon<number> =>
      length === 0 ? 0 : this.#prove(into.subarray(0, length), was, offset);
    return typeof made === 'number' ? prove(made) : made.then(prove);
  }

  /** Goes on from link `first`: `at` is what those before have made, `done` what they did. */
  #encodeFrom(first: number, at: Buffer, done: number, into: Buffer, offset: number): Soon<number> {
    // The last of several may have to be copied there; the only one never is.
    const body = into.subarray(FRAME_BYTES);
    for (let k = first; k < this.#links.length; k += 1) {
      const link = this.#links[k] as Link;
      if (done === 0 ? !link.use.takesPlain : !link.use.takesPacked) continue;
      const place = liesIn(at, body) ? this.#places[0] : body;
      const room = place.subarray(0, at.length + link.use.growth);
      const made = link.call('encode', at, room, (error) => failed(link, offset, error));
      const next = (length: number): Buffer => (length === 0 ? at : room.subarray(0, length));
      const doneNow = done | (2 << k);
      if (typeof made !== 'number') {
        return made.then((length) =>
          this.#encodeFrom(k + 1, next(length), length === 0 ? done : doneNow, into, offset),
        );
      }
      at = next(made);
      if (made > 0) done = doneNow;
    }
    if (done === 0) return 0;
    if (!liesIn(at, body)) at.copy(body);
    into.writeUInt32LE(at.length, 0);
    into.writeUInt32LE(done, 4);
    return FRAME_BYTES + at.length;
  }

  /** What cannot be decoded now could never be restored. Returns the frame's length. */
  #prove(frame: Buffer, was: Buffer, offset: number): Soon<number> {
    this.#proves = false;
    const judge = ({ bytes }: Unframed): number => {
      if (bytes.equals(was)) return frame.length;
      const names = this.#links.map(({ use }) => use.name).join(', ');
      const what = 'could not decode what it had encoded';
      throw fault('stage-broke', { stage: names, offset, what });
    };
    const again = this.decode(frame, this.#proof.again, offset);
    return again instanceof Promise ? again.then(judge) : judge(again);
  }

  /**
   * Takes a frame apart, behind which there may be other bytes. The bytes that come out may lie in `into`, which has room
   * for a cluster. Throws a Fault when it cannot.
   */
  decode(frame: Buffer, into: Buffer, offset: number): Soon<Unframed> {
    const length = frame.length < FRAME_BYTES ? 0 : frame.readUInt32LE(0);
    const done = length === 0 ? 0 : frame.readUInt32LE(4);
    if (length > frame.length - FRAME_BYTES || done === 0 || done >= 2 << this.#links.length) {
      throw damaged('frame', offset, 'its head is not one that nvsnap writes');
    }
    return this.#decodeFrom(
      this.#links.length - 1,
      frame.subarray(FRAME_BYTES, FRAME_BYTES + length),
      done,
      into,
      offset,
    );
  }

  /** Goes on from link `last` downwards: `at` is what those behind have made. */
  #decodeFrom(
    last: number,
    at: Buffer,
    done: number,
    into: Buffer,
    offset: number,
  ): Soon<Unframed> {
    const packed = (done & CODEC) !== 0;
    for (let k = last; k >= 0; k -= 1) {
      if ((done & (2 << k)) === 0) continue;
      const link = this.#links[k] as Link;
      const [first, second] = this.#places;
      // What the first one had was a cluster, or the codec's.
      const ends = !packed && (done & ((2 << k) - 1)) === 0;
      const place = ends ? into : liesIn(at, first) ? second : first;
      const made = link.call('decode', at, place, (error) =>
        damaged(link.use.name, offset, reasonOf(error)),
      );
      if (typeof made !== 'number') {
        return made.then((length) =>
          this.#decodeFrom(k - 1, place.subarray(0, length), done, into, offset),
        );
      }
      at = place.subarray(0, made);
    }
    return { bytes: at, packed };
  }

  /** What each link did. */
  async flush(): Promise<LinkPart[]> {
    const parts: LinkPart[] = [];
    for (const link of this.#links) parts.push(await guard(link, () => link.flush()));
    return parts;
  }

  async close(): Promise<void> {
    for (const link of this.#links) await guard(link, () => link.close());
  }
}

const damaged = (codec: string, offset: number, reason: string): Fault =>
  fault('payload-damaged', { offset, codec, reason });

const failed = ({ use }: Link, offset: number, error: unknown): Fault =>
  fault('stage-failed', { stage: use.name, offset, reason: reasonOf(error) }, error);

/** Says whose fault it is, at the end. */
const guard = async <T>(link: Link, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw failed(link, 0, error);
  }
};
