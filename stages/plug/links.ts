// The reversible stages of a store in one thread: each cluster to be stored goes through one after another, and through
// them backwards when it is read. What comes out is put in a frame, since qcow2 knows a payload's length to the sector only:
//
//     0-3  length of what follows the frame's 8 bytes, little endian
//     4-7  what was done: bit 0 the codec's work, bit k+1 that of link k; little endian

import { Fault, fault, reasonOf } from '../../disk/index.js';
import type { Desk, Stage } from '../../pipeline/index.js';
import { damaged, isBreach, Link, type LinkPart, type LinkUse, type Soon } from './link.js';

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
    // As it is before anybody has it: a stage may write where it must not.
    const kept =
      this.#proves || this.#strict ? this.#proof.was.subarray(0, bytes.length) : undefined;
    if (kept) bytes.copy(kept);
    const made = this.#encodeFrom(0, bytes, packed ? CODEC : 0, into, offset);
    if (!kept) return made;
    const prove = (length: number): Soon<number> => {
      if (length > 0) return this.#prove(into.subarray(0, length), kept, offset);
      if (!kept.equals(bytes)) throw this.#broke(offset, 'changed bytes that it did not encode');
      return 0;
    };
    return typeof made === 'number' ? prove(made) : made.then(prove);
  }

  /** What some link has done against the contract. */
  #broke(offset: number, what: string): Fault {
    const names = this.#links.map(({ use }) => use.name).join(', ');
    return fault('stage-broke', { stage: names, offset, what });
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
      const made = link.call('encode', at, room, offset);
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
  async #prove(frame: Buffer, kept: Buffer, offset: number): Promise<number> {
    this.#proves = false;
    let again: Buffer;
    try {
      again = (await this.decode(frame, this.#proof.again, offset)).bytes;
    } catch (error) {
      if (isBreach(error)) throw error;
      // No store is damaged here.
      const reason = error instanceof Fault ? error.details.reason : reasonOf(error);
      throw this.#broke(offset, `could not decode what it had encoded (${reason})`);
    }
    if (again.equals(kept)) return frame.length;
    throw this.#broke(offset, 'could not decode what it had encoded');
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
      const made = link.call('decode', at, place, offset);
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
    for (const link of this.#links) parts.push(await link.flush());
    return parts;
  }

  async close(): Promise<void> {
    for (const link of this.#links) await link.close();
  }
}
