// The reversible stages of a store in one thread: each cluster to be stored goes through one after another, and through
// them backwards when it is read. What comes out is put in a frame, since qcow2 knows a payload's length to the sector only:
//
//     0-3  length of what follows the frame's 8 bytes, little endian
//     4-7  what was done: bit 0 the codec's work, bit k+1 that of link k; little endian

import { Fault, fault, reasonOf } from '../../disk/index.js';
import type { Desk } from '../../pipeline/index.js';
import { checkKeeping } from './keeping.js';
import { damaged, failed, isBreach, Link, type LinkPart, type LinkUse } from './link.js';
import { closeAll, openAll, openModule } from './open.js';

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

const liesIn = (bytes: Buffer, place: Buffer): boolean =>
  bytes.byteOffset === place.byteOffset && bytes.buffer === place.buffer;

export class Links {
  readonly #links: readonly Link[];
  readonly #strict: boolean;
  /** What one link makes is the next one's input, so there are two places. */
  readonly #places: readonly [Buffer, Buffer];
  /** A cluster as it was, and as it comes out again. */
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
    const opened = await openAll(
      links,
      async (use) => {
        const thread = await guarded(use, 0, () => openModule(use.module, use.options, desk));
        return new Link(use, thread, most, strict);
      },
      closeLink,
    );
    return new Links(opened, clusterSize, most, strict);
  }

  /** Begins a batch: one of its clusters at least is decoded again at once. */
  begin(): void {
    this.#proves = true;
  }

  /** Ends the batch at an image offset. */
  end(offset: number): void {
    checkKeeping(this.#links.map(({ use }) => use.name).join(', '), offset);
  }

  /**
   * Frames `bytes`, a cluster's or, if `packed`, what the codec made of one, into `into`, which has room for a cluster and
   * all growth. Returns the frame's length; 0 when no link did anything to a cluster that is not packed. `offset` in the
   * image is for faults.
   */
  encode(bytes: Buffer, packed: boolean, into: Buffer, offset: number): number {
    const proves = this.#proves || this.#strict;
    // As it is before anybody has it: a stage may write where it must not.
    const was = this.#proof.was.subarray(0, bytes.length);
    if (proves) bytes.copy(was);
    const body = into.subarray(FRAME_BYTES);
    let at = bytes;
    let done = packed ? CODEC : 0;
    for (const [k, link] of this.#links.entries()) {
      if (done === 0 ? !link.use.takesPlain : !link.use.takesPacked) continue;
      // Of several the last may have to be copied to its place; the only one never is.
      const place = liesIn(at, body) ? this.#places[0] : body;
      const room = place.subarray(0, at.length + link.use.growth);
      const made = this.#encodeOne(link, at, room, offset);
      if (made === 0) continue;
      at = room.subarray(0, made);
      done |= 2 << k;
    }
    if (done === 0) {
      if (proves && !was.equals(bytes))
        throw this.#broke(offset, 'changed bytes that it did not encode');
      return 0;
    }
    if (!liesIn(at, body)) at.copy(body);
    into.writeUInt32LE(at.length, 0);
    into.writeUInt32LE(done, 4);
    const frame = into.subarray(0, FRAME_BYTES + at.length);
    if (proves) this.#prove(frame, was, offset);
    return frame.length;
  }

  #encodeOne(link: Link, bytes: Buffer, room: Buffer, offset: number): number {
    try {
      return link.call('encode', bytes, room, offset);
    } catch (error) {
      throw failed(link.use, offset, error);
    }
  }

  /** What some link has done against the contract. */
  #broke(offset: number, what: string): Fault {
    const names = this.#links.map(({ use }) => use.name).join(', ');
    return fault('stage-broke', { stage: names, offset, what });
  }

  /** What cannot be decoded now could never be restored. */
  #prove(frame: Buffer, was: Buffer, offset: number): void {
    this.#proves = false;
    let again: Buffer;
    try {
      again = this.decode(frame, this.#proof.again, offset).bytes;
    } catch (error) {
      if (isBreach(error)) throw error;
      // No store is damaged here.
      const reason = error instanceof Fault ? error.details.reason : reasonOf(error);
      throw this.#broke(offset, `could not decode what it had encoded (${reason})`);
    }
    if (!again.equals(was)) throw this.#broke(offset, 'could not decode what it had encoded');
  }

  /**
   * Takes a frame apart, behind which there may be other bytes. The bytes that come out may lie in `into`, which has room
   * for a cluster. Throws a Fault when it cannot.
   */
  decode(frame: Buffer, into: Buffer, offset: number): Unframed {
    const length = frame.length < FRAME_BYTES ? 0 : frame.readUInt32LE(0);
    const done = length === 0 ? 0 : frame.readUInt32LE(4);
    if (length > frame.length - FRAME_BYTES || done === 0 || done >= 2 << this.#links.length) {
      throw damaged('frame', offset, 'its head is not one that nvsnap writes');
    }
    const packed = (done & CODEC) !== 0;
    const [first, second] = this.#places;
    let at = frame.subarray(FRAME_BYTES, FRAME_BYTES + length);
    for (let k = this.#links.length - 1; k >= 0; k -= 1) {
      if ((done & (2 << k)) === 0) continue;
      const link = this.#links[k] as Link;
      // What the first one had was a cluster, or the codec's.
      const ends = !packed && (done & ((2 << k) - 1)) === 0;
      const place = ends ? into : liesIn(at, first) ? second : first;
      try {
        at = place.subarray(0, link.call('decode', at, place, offset));
      } catch (error) {
        if (isBreach(error)) throw error;
        throw damaged(link.use.name, offset, reasonOf(error));
      }
    }
    return { bytes: at, packed };
  }

  /** What each link did. */
  async flush(): Promise<LinkPart[]> {
    const parts: LinkPart[] = [];
    for (const link of this.#links) parts.push(await guarded(link.use, 0, () => link.flush()));
    return parts;
  }

  close(): Promise<void> {
    return closeAll(this.#links, closeLink);
  }
}

const closeLink = (link: Link): Promise<void> => guarded(link.use, 0, () => link.close());

const guarded = async <T>(use: LinkUse, offset: number, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw failed(use, offset, error);
  }
};
